/* SPDX-License-Identifier: MIT */
/*
 * nomux__preempt_entry: a user thread was interrupted by an upcall that wants it
 * to give the core up (preempt.c).  It stands on its own stack with every register
 * as it was, except %rsp, which points to the rip to go on at:
 *
 *	old %rsp - 136	-> rip
 *	old %rsp - 128	   the red zone
 *
 * The extended state lies on the stack while the thread does not run; x87, SSE and
 * AVX control words are among it, so threads do not see each other's.
 */
#include "xstate.h"

#define RED_ZONE 128

	.text
	.globl	nomux__preempt_entry, nomux__preempt_end
	.hidden	nomux__preempt_entry, nomux__preempt_end
	.type	nomux__preempt_entry, @function
	.p2align 4
nomux__preempt_entry:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, RED_ZONE + 8
	.cfi_offset rip, -(RED_ZONE + 8)
	pushfq
	.cfi_adjust_cfa_offset 8
	.irp	reg, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rbp, rbx
	push	%\reg
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset \reg, 0
	.endr
	cld
	mov	%rsp, %rbx
	.cfi_def_cfa_register rbx
	xstate_save nomux__xstate_bytes(%rip), nomux__xstate_mask(%rip)
	call	nomux__preempted
	xstate_restore nomux__xstate_mask(%rip)
	mov	%rbx, %rsp
	.cfi_def_cfa_register rsp
	.irp	reg, rbx, rbp, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
	pop	%\reg
	.cfi_adjust_cfa_offset -8
	.cfi_restore \reg
	.endr
	popfq
	.cfi_adjust_cfa_offset -8
	ret	$RED_ZONE
	.cfi_endproc
nomux__preempt_end:
	.size	nomux__preempt_entry, . - nomux__preempt_entry
	.section .note.GNU-stack, "", @progbits
