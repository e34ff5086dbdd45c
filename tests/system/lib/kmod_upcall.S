/* SPDX-License-Identifier: MIT */
/*
 * Upcall entry of the module's tests, for traps and faults only: events stay masked
 * (vif 0), so the restartable section is never entered by an interrupt.
 *
 * On entry rsp points to a struct nom_frame; gprs[] at 32, rip 152, rflags 168,
 * rsp 176.  Return: rflags and rip go below the red zone of the interrupted
 * stack, then popfq; ret $128.
 */
	.text
	.globl	k_upcall_entry, k_restart_start, k_restart_end, k_restart_abort
	.type	k_upcall_entry, @function
k_upcall_entry:
	mov	%rax, 32(%rsp)
	mov	%rcx, 40(%rsp)
	mov	%rdx, 48(%rsp)
	mov	%rbx, 56(%rsp)
	mov	%rbp, 64(%rsp)
	mov	%rsi, 72(%rsp)
	mov	%rdi, 80(%rsp)
	mov	%r8, 88(%rsp)
	mov	%r9, 96(%rsp)
	mov	%r10, 104(%rsp)
	mov	%r11, 112(%rsp)
	mov	%r12, 120(%rsp)
	mov	%r13, 128(%rsp)
	mov	%r14, 136(%rsp)
	mov	%r15, 144(%rsp)
k_restart_abort:
	mov	%rsp, %rdi
	mov	%rsp, %rbx
	call	k_upcall_handler
	mov	%rbx, %rsp
	mov	176(%rsp), %rax
	mov	152(%rsp), %rcx
	mov	168(%rsp), %rdx
	mov	%rcx, -136(%rax)
	mov	%rdx, -144(%rax)
	lea	-144(%rax), %rax
	mov	%rax, 176(%rsp)
k_restart_start:
	mov	40(%rsp), %rcx
	mov	48(%rsp), %rdx
	mov	56(%rsp), %rbx
	mov	64(%rsp), %rbp
	mov	72(%rsp), %rsi
	mov	80(%rsp), %rdi
	mov	88(%rsp), %r8
	mov	96(%rsp), %r9
	mov	104(%rsp), %r10
	mov	112(%rsp), %r11
	mov	120(%rsp), %r12
	mov	128(%rsp), %r13
	mov	136(%rsp), %r14
	mov	144(%rsp), %r15
	mov	32(%rsp), %rax
	mov	176(%rsp), %rsp
k_restart_end:
	popfq
	ret	$128
	.size	k_upcall_entry, . - k_upcall_entry
	.section .note.GNU-stack, "", @progbits
