/* SPDX-License-Identifier: MIT */
/*
 * void nomux__switch(void **save_sp, void *load_sp)
 *
 * Switch user threads: what the ABI lets a call clobber is dead already, so
 * six registers and the stack pointer are all there is to a thread.
 *
 * nomux__thread_start is where a new thread's first switch returns to: its
 * entry function is in %rbx, the argument in %r12.
 */
	.text
	.globl	nomux__switch
	.hidden	nomux__switch
	.type	nomux__switch, @function
	.p2align 4
nomux__switch:
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	push	%rbx
	.cfi_adjust_cfa_offset 8
	push	%r12
	.cfi_adjust_cfa_offset 8
	push	%r13
	.cfi_adjust_cfa_offset 8
	push	%r14
	.cfi_adjust_cfa_offset 8
	push	%r15
	.cfi_adjust_cfa_offset 8
	mov	%rsp, (%rdi)
	mov	%rsi, %rsp
	pop	%r15
	.cfi_adjust_cfa_offset -8
	pop	%r14
	.cfi_adjust_cfa_offset -8
	pop	%r13
	.cfi_adjust_cfa_offset -8
	pop	%r12
	.cfi_adjust_cfa_offset -8
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	pop	%rbp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size	nomux__switch, . - nomux__switch

	.globl	nomux__thread_start
	.hidden	nomux__thread_start
	.type	nomux__thread_start, @function
nomux__thread_start:
	.cfi_startproc
	.cfi_undefined rip		/* backtraces end here */
	mov	%r12, %rdi
	call	*%rbx
	ud2				/* it does not return */
	.cfi_endproc
	.size	nomux__thread_start, . - nomux__thread_start

	.section .note.GNU-stack, "", @progbits
