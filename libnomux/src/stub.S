/* SPDX-License-Identifier: MIT */
/*
 * Upcall entry and return.
 *
 * The kernel starts nomux__upcall_entry on the core's upcall stack with %rsp at
 * a struct nom_frame, events masked and every other register as the thread
 * left it.  The registers go into frame.gprs, C does the rest, and the return
 * is by a *restartable section*, in which %rsp does not move:
 *
 *	put rflags and rip below the red zone of the interrupted stack
 *	unmask
 *	start:	an event pending?  mask, and handle it with the same frame
 *		load the registers, and last %rsp
 *	end:	popfq; ret $128
 *
 * An event that comes inside the section finds the frame whole: the kernel
 * pushes nothing, masks and jumps to nomux__restart_abort.  Before the section
 * events are masked, after it the frame is done with; so the stack never grows
 * and nothing is lost.  (Not IRETQ: it would need no section, but emulators
 * take its faults for the kernel's.)
 *
 * The region a core lives in is aligned to its size: masking %rsp gives the
 * struct nomux_core, and behind it the page shared with the kernel.
 */
#include "xstate.h"

#define REGION		0x40000		/* NOMUX_REGION_BYTES */
#define SH_VIF		(4096 + 0)
#define SH_PENDING	(4096 + 8)
#define CORE_FLAGS	0
#define CORE_XSAVE_BYTES 8
#define CORE_XSAVE_MASK	16
#define FLAG_SAVE_XSTATE 1

#define F_VECTOR	0
#define F_VIF		24
#define F_RAX		32
#define F_RDX		40
#define F_RCX		48
#define F_RBX		56
#define F_RBP		64
#define F_RSI		72
#define F_RDI		80
#define F_R8		88
#define F_R9		96
#define F_R10		104
#define F_R11		112
#define F_R12		120
#define F_R13		128
#define F_R14		136
#define F_R15		144
#define F_RIP		152
#define F_RFLAGS	168
#define F_RSP		176
#define F_TARGET	184		/* ss is constant: its slot holds the %rsp to load */
#define VECTOR_EVENT	256

/* Slots of rflags and rip below the 128 bytes of red zone. */
#define BELOW		144

/*
 * Call frame information: the frame is the caller's state, found from \base
 * (DW_OP_breg0 + register number).  Offsets are SLEB128 of two bytes.
 */
	.macro cfi_slot reg, base, off
	.cfi_escape 0x10, \reg, 3, \base, (\off & 0x7f) | 0x80, \off >> 7
	.endm
	.macro cfi_frame base
	.cfi_escape 0x0f, 4, \base, (F_RSP & 0x7f) | 0x80, F_RSP >> 7, 0x06
	cfi_slot 16, \base, F_RIP
	.endm
	.macro cfi_gprs base
	cfi_slot 0, \base, F_RAX
	cfi_slot 1, \base, F_RDX
	cfi_slot 2, \base, F_RCX
	cfi_slot 3, \base, F_RBX
	cfi_slot 4, \base, F_RSI
	cfi_slot 5, \base, F_RDI
	cfi_slot 6, \base, F_RBP
	cfi_slot 8, \base, F_R8
	cfi_slot 9, \base, F_R9
	cfi_slot 10, \base, F_R10
	cfi_slot 11, \base, F_R11
	cfi_slot 12, \base, F_R12
	cfi_slot 13, \base, F_R13
	cfi_slot 14, \base, F_R14
	cfi_slot 15, \base, F_R15
	.endm
#define BREG_RSP	0x77
#define BREG_RBX	0x73

	.text
	.globl	nomux__upcall_entry, nomux__restart_start, nomux__restart_end, nomux__restart_abort
	.hidden	nomux__upcall_entry, nomux__restart_start, nomux__restart_end, nomux__restart_abort
	.type	nomux__upcall_entry, @function
	.p2align 6
nomux__upcall_entry:
	.cfi_startproc
	.cfi_signal_frame
	cfi_frame BREG_RSP
	mov	%rax, F_RAX(%rsp)
	mov	%rdx, F_RDX(%rsp)
	mov	%rcx, F_RCX(%rsp)
	mov	%rbx, F_RBX(%rsp)
	mov	%rbp, F_RBP(%rsp)
	mov	%rsi, F_RSI(%rsp)
	mov	%rdi, F_RDI(%rsp)
	mov	%r8, F_R8(%rsp)
	mov	%r9, F_R9(%rsp)
	mov	%r10, F_R10(%rsp)
	mov	%r11, F_R11(%rsp)
	mov	%r12, F_R12(%rsp)
	mov	%r13, F_R13(%rsp)
	mov	%r14, F_R14(%rsp)
	mov	%r15, F_R15(%rsp)
	mov	%rsp, %rbx
	cfi_frame BREG_RBX
	cfi_gprs BREG_RBX
	mov	%rsp, %rbp
	and	$-REGION, %rbp
.Ldispatch:				/* rbx: frame, rbp: core */
	mov	%rbx, %rdi
	mov	%rbp, %rsi
	testb	$FLAG_SAVE_XSTATE, CORE_FLAGS(%rbp)
	jnz	.Lwith_xstate
	call	nomux__upcall
	test	%eax, %eax
	js	.Lunhandled
.Lreturn:
	mov	F_RSP(%rsp), %rcx
	mov	F_RFLAGS(%rsp), %rax
	mov	F_RIP(%rsp), %rdx
	sub	$BELOW, %rcx
	mov	%rax, (%rcx)
	mov	%rdx, 8(%rcx)
	mov	%rcx, F_TARGET(%rsp)
	cmpl	$0, F_VIF(%rsp)
	je	.Lload			/* events were masked: they stay so */
	mov	$1, %eax
	xchg	%eax, SH_VIF(%rbp)	/* before the load of pending; partner: nom_post() */
nomux__restart_start:
	cmpq	$0, SH_PENDING(%rbp)
	je	.Lload
	movl	$0, SH_VIF(%rbp)
	jmp	.Lagain
.Lload:
	cfi_frame BREG_RSP
	cfi_gprs BREG_RSP
	mov	F_RAX(%rsp), %rax
	mov	F_RDX(%rsp), %rdx
	mov	F_RCX(%rsp), %rcx
	mov	F_RBX(%rsp), %rbx
	mov	F_RBP(%rsp), %rbp
	mov	F_RSI(%rsp), %rsi
	mov	F_RDI(%rsp), %rdi
	mov	F_R8(%rsp), %r8
	mov	F_R9(%rsp), %r9
	mov	F_R10(%rsp), %r10
	mov	F_R11(%rsp), %r11
	mov	F_R12(%rsp), %r12
	mov	F_R13(%rsp), %r13
	mov	F_R14(%rsp), %r14
	mov	F_R15(%rsp), %r15
	mov	F_TARGET(%rsp), %rsp
nomux__restart_end:
	.cfi_remember_state
	.cfi_def_cfa rsp, BELOW
	.cfi_offset rip, 8 - BELOW
	.irp	reg, rax, rdx, rcx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	.cfi_same_value \reg
	.endr
	popfq
	.cfi_adjust_cfa_offset -8
	ret	$128
	.cfi_restore_state

nomux__restart_abort:			/* the kernel has masked; only rsp is known */
	mov	%rsp, %rbx
	mov	%rsp, %rbp
	and	$-REGION, %rbp
.Lagain:
	cfi_frame BREG_RBX
	cfi_gprs BREG_RBX
	movq	$VECTOR_EVENT, F_VECTOR(%rsp)
	jmp	.Ldispatch

	/*
	 * A trap that no handler took, or handlers that may use the FPU: call
	 * with the extended state saved and fresh.  All registers are free.
	 */
.Lunhandled:
	lea	nomux__upcall_unhandled(%rip), %r13
	jmp	.Lcall_xstate
.Lwith_xstate:
	lea	nomux__upcall(%rip), %r13
.Lcall_xstate:
	xstate_save CORE_XSAVE_BYTES(%rbp), CORE_XSAVE_MASK(%rbp)
	fninit
	ldmxcsr	.Lmxcsr(%rip)
	mov	%rbx, %rdi
	mov	%rbp, %rsi
	call	*%r13
	mov	%eax, %r12d
	xstate_restore CORE_XSAVE_MASK(%rbp)
	mov	%rbx, %rsp
	test	%r12d, %r12d
	jns	.Lreturn
	jmp	.Lunhandled
	.cfi_endproc
	.size	nomux__upcall_entry, . - nomux__upcall_entry

	.section .rodata
	.p2align 2
.Lmxcsr:
	.long	0x1f80
	.section .note.GNU-stack, "", @progbits
