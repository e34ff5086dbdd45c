/* SPDX-License-Identifier: MIT */
/*
 * A pointer per user thread and key, like pthread_getspecific(3).  For errno
 * and __thread variables of a thread's own see NOMUX_THREAD_OWN_TLS.
 */
#ifndef NOMUX_TLS_H
#define NOMUX_TLS_H

#include <nomux/api.h>

#define NOMUX_TLS_KEYS	64	/* per process */

/**
 * nomux_tls_key_create - make a key; every thread's value is NULL
 * @destructor: called with a thread's value when the thread ends and the value
 *	is not NULL; or NULL.  Not for kernel threads' own user threads.
 * @key_out: the key
 *
 * Threads: any.
 * Return: 0, -EAGAIN (all NOMUX_TLS_KEYS are in use), -EINVAL.
 */
NOMUX_API int nomux_tls_key_create(void (*destructor)(void *value), unsigned int *key_out);

/**
 * nomux_tls_key_delete - give a key back; destructors do not run
 * @key: key
 *
 * Return: 0, -EINVAL (no such key).
 */
NOMUX_API int nomux_tls_key_delete(unsigned int key);

/** nomux_tls_get - the calling user thread's value; NULL: none, or no such key */
NOMUX_API void *nomux_tls_get(unsigned int key);

/** nomux_tls_set - set it; Return: 0, -EINVAL (no such key), -ENOMEM */
NOMUX_API int nomux_tls_set(unsigned int key, void *value);

#endif /* NOMUX_TLS_H */
