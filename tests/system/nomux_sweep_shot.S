/* SPDX-License-Identifier: MIT */
/*
 * unsigned long sweep_shot(int fd, const unsigned long *one,
 *			    volatile unsigned long *count, unsigned long want)
 *
 * Write to an eventfd, so that an upcall comes at once, and spin until *count
 * has reached want: the timer that the caller armed hits some instruction on the
 * way.  All registers that a system call leaves alone hold a pattern.
 * Returns 0, 1 when a register changed, 2 when the timer never came.
 */
#define SPINS	3000000

	.text
	.globl	sweep_shot
	.type	sweep_shot, @function
sweep_shot:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rcx			/* want */
	push	%rdx			/* &count */
	mov	$0x1b1b1b1b, %ebx
	mov	$0x15151515, %ebp
	mov	$0x18181818, %r8d
	mov	$0x19191919, %r9d
	mov	$0x1a1a1a1a, %r10d
	mov	$0x1c1c1c1c, %r12d
	mov	$0x1d1d1d1d, %r13d
	mov	$0x1e1e1e1e, %r14d
	mov	$0x1f1f1f1f, %r15d
	mov	$8, %edx
	mov	$1, %eax		/* write(fd, one, 8) */
	syscall
	mov	(%rsp), %rdi
	mov	8(%rsp), %rsi
	mov	$SPINS, %ecx
1:	cmp	%rsi, (%rdi)
	jae	2f
	dec	%ecx
	jnz	1b
	mov	$2, %eax
	jmp	.Lend
2:	cmp	$8, %rax		/* what write() returned */
	jne	.Lbad
	cmp	$8, %rdx
	jne	.Lbad
	cmp	$0x1b1b1b1b, %rbx
	jne	.Lbad
	cmp	$0x15151515, %rbp
	jne	.Lbad
	cmp	$0x18181818, %r8
	jne	.Lbad
	cmp	$0x19191919, %r9
	jne	.Lbad
	cmp	$0x1a1a1a1a, %r10
	jne	.Lbad
	cmp	$0x1c1c1c1c, %r12
	jne	.Lbad
	cmp	$0x1d1d1d1d, %r13
	jne	.Lbad
	cmp	$0x1e1e1e1e, %r14
	jne	.Lbad
	cmp	$0x1f1f1f1f, %r15
	jne	.Lbad
	xor	%eax, %eax
	jmp	.Lend
.Lbad:
	mov	$1, %eax
.Lend:
	pop	%rdx
	pop	%rcx
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	sweep_shot, . - sweep_shot
	.section .note.GNU-stack, "", @progbits
