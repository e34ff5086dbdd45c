/* SPDX-License-Identifier: MIT */
/*
 * nom-fuzz: upcall entry and return, with the restartable section.  fz_upcall()
 * gets the frame and returns the shared page, or NULL when it has none to look at.
 *
 * Offsets in the frame: gprs[] 32, vif 24, rip 152, rflags 168, rsp 176, ss 184 (its
 * slot holds the stack pointer to load).  In the page: vif 0, pending 8.
 */
	.text
	.globl	fz_upcall_entry, fz_restart_start, fz_restart_end, fz_restart_abort
	.type	fz_upcall_entry, @function
fz_upcall_entry:
	.set	i, 32
	.irp	reg, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	mov	%\reg, i(%rsp)
	.set	i, i + 8
	.endr
	jmp	1f
fz_restart_abort:			/* the kernel has masked; only rsp is known */
	movq	$256, (%rsp)
1:	mov	%rsp, %rdi
	cld
	call	fz_upcall
	mov	%rax, %rbp
	mov	176(%rsp), %rcx
	mov	168(%rsp), %rdx
	mov	152(%rsp), %rsi
	sub	$144, %rcx
	mov	%rdx, (%rcx)
	mov	%rsi, 8(%rcx)
	mov	%rcx, 184(%rsp)
	test	%rbp, %rbp
	jz	2f
	cmpl	$0, 24(%rsp)
	je	2f
	mov	$1, %eax
	xchg	%eax, (%rbp)
fz_restart_start:
	cmpq	$0, 8(%rbp)
	je	2f
	movl	$0, (%rbp)
	jmp	fz_restart_abort
2:
	.set	i, 32
	.irp	reg, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	mov	i(%rsp), %\reg
	.set	i, i + 8
	.endr
	mov	184(%rsp), %rsp
fz_restart_end:
	popfq
	ret	$128
	.size	fz_upcall_entry, . - fz_upcall_entry
	.section .note.GNU-stack, "", @progbits
