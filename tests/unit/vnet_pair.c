// SPDX-License-Identifier: MIT
/* vnet_pair.c - see vnet_pair.h */
#include "vnet_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

void pair_step(void *arg)
{
	vhostbe_step(*(struct vhostbe **)arg);
}

void pair_open(struct pair *p, const char *name, const struct vhostbe_opts *b, struct vnet_opts *o)
{
	o->wait = pair_step;
	o->wait_arg = &p->be;
	snprintf(p->path, sizeof(p->path), "/tmp/%s.%d", name, (int)getpid());
	assert_int_equal(vhostbe_create(p->path, b, &p->be), 0);
	assert_int_equal(vnet_open_vhost_user(p->path, o, &p->v), 0);
}

void pair_close(struct pair *p)
{
	assert_null(vhostbe_last_error(p->be));
	assert_int_equal(vnet_error(p->v, NULL), 0);
	vnet_close(p->v);
	vhostbe_destroy(p->be);
}
