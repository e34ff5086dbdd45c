/* SPDX-License-Identifier: MIT */
/*
 * For assembly: save the extended state below %rsp and restore it from there.
 * bytes and mask are operands (xstate_layout() in core.c computes their values; mask
 * 0: FXSAVE).  Both clobber %rax and %rdx, xstate_save also %rcx and moves %rsp.
 */
	.macro xstate_save bytes, mask
	sub	\bytes, %rsp
	and	$-64, %rsp
	mov	\mask, %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	test	%rax, %rax
	jz	.Lfxsave\@
	xor	%ecx, %ecx		/* XRSTOR wants the rest of the header zero */
	.irp	off, 512, 520, 528, 536, 544, 552, 560, 568
	mov	%rcx, \off(%rsp)
	.endr
	xsave64	(%rsp)
	jmp	.Lsaved\@
.Lfxsave\@:
	fxsave64 (%rsp)
.Lsaved\@:
	.endm

	.macro xstate_restore mask
	mov	\mask, %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	test	%rax, %rax
	jz	.Lfxrstor\@
	xrstor64 (%rsp)
	jmp	.Lrestored\@
.Lfxrstor\@:
	fxrstor64 (%rsp)
.Lrestored\@:
	.endm
