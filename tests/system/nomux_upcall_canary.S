/* SPDX-License-Identifier: MIT */
/*
 * unsigned long canary_spin(volatile int *stop, unsigned long *rounds)
 *
 * Run with a pattern in every register, the red zone and the flags until *stop;
 * an upcall that fails to restore any of them is found out.
 * Returns 0, or what differed: 1 a general register, 16 rsp, 17 an xmm, 18 the red
 * zone, 19 flags.
 */
	.section .rodata
	.p2align 4
pattern:				/* 8 bytes each: 15 registers, 16 of xmm */
	.set	i, 0
	.rept	31
	.quad	0x1122334455667788 + i * 0x0101010101010101
	.set	i, i + 1
	.endr

	.bss
	.p2align 3
.Lsp:	.quad	0
.Lstop:	.quad	0
.Lrounds: .quad 0

	.text
	.globl	canary_spin
	.type	canary_spin, @function
canary_spin:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rdi, .Lstop(%rip)
	mov	%rsi, .Lrounds(%rip)
	mov	%rsp, .Lsp(%rip)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq	pattern + (15 + \n) * 8(%rip), %xmm\n
	.endr
	.irp	off, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	movq	$0x51 + \off, -\off(%rsp)
	.endr
	.set	i, 1
	.irp	reg, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	mov	pattern + i * 8(%rip), %\reg
	.set	i, i + 1
	.endr
.Lround:
	/* registers: rax by itself first, since the other checks use it */
	mov	pattern(%rip), %rax
	std
	.rept	16
	nop
	.endr
	cmp	pattern(%rip), %rax
	jne	.Lbad_gpr
	.set	i, 1
	.irp	reg, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	cmp	pattern + i * 8(%rip), %\reg
	jne	.Lbad_gpr
	.set	i, i + 1
	.endr
	cmp	.Lsp(%rip), %rsp
	jne	.Lbad_rsp
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq	%xmm\n, %rax
	cmp	pattern + (15 + \n) * 8(%rip), %rax
	jne	.Lbad_xmm
	.endr
	.irp	off, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	cmpq	$0x51 + \off, -\off(%rsp)
	jne	.Lbad_redzone
	.endr
	/* flags: carry alone set, then direction, by stepping over the red zone */
	stc
	.rept	16
	nop
	.endr
	jnc	.Lbad_flags
	lea	-128(%rsp), %rsp
	pushfq
	pop	%rax
	lea	128(%rsp), %rsp
	test	$0x400, %eax		/* DF */
	jz	.Lbad_flags
	mov	.Lrounds(%rip), %rax
	incq	(%rax)
	mov	.Lstop(%rip), %rax
	cmpl	$0, (%rax)
	je	.Lround
	xor	%eax, %eax
	jmp	.Lend
.Lbad_gpr:
	mov	$1, %eax
	jmp	.Lend
.Lbad_rsp:
	mov	$16, %eax
	jmp	.Lend
.Lbad_xmm:
	mov	$17, %eax
	jmp	.Lend
.Lbad_redzone:
	mov	$18, %eax
	jmp	.Lend
.Lbad_flags:
	mov	$19, %eax
.Lend:
	cld
	mov	.Lsp(%rip), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	canary_spin, . - canary_spin

/*
 * unsigned long canary_flip(void)
 *
 * Run ud2 with a pattern in all registers.  The handler flips bit 0 of each in
 * the frame; returns the or of all that did not come back so.
 */
	.text
	.globl	canary_flip
	.type	canary_flip, @function
canary_flip:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	.set	i, 0x100
	.irp	reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	mov	$i, %\reg
	.set	i, i + 0x100
	.endr
	ud2
	.set	i, 0x100
	.irp	reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	xor	$i + 1, %\reg
	.set	i, i + 0x100
	.endr
	.irp	reg, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	or	%\reg, %rax
	.endr
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	canary_flip, . - canary_flip
	.section .note.GNU-stack, "", @progbits
