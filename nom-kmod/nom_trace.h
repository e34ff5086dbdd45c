/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nom: tracepoints.  events/nom/ in tracefs; a disabled one costs a no-op.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM nom

#if !defined(_NOM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _NOM_TRACE_H

#include <linux/tracepoint.h>

/* A core changes hands; state is NOM_CORE_*. */
TRACE_EVENT(nom_lease,
	TP_PROTO(unsigned int cpu, u64 handle, unsigned int state),
	TP_ARGS(cpu, handle, state),
	TP_STRUCT__entry(
		__field(u64, handle)
		__field(unsigned int, cpu)
		__field(unsigned int, state)
	),
	TP_fast_assign(
		__entry->handle = handle;
		__entry->cpu = cpu;
		__entry->state = state;
	),
	TP_printk("cpu=%u handle=%#llx state=%s", __entry->cpu, __entry->handle,
		  __print_symbolic(__entry->state, { 0, "free" }, { 1, "leased" },
				   { 2, "running" }, { 3, "offline" }))
);

/* Memory is granted, given back, put into quarantine, or leaves it. */
TRACE_EVENT(nom_grant,
	TP_PROTO(u64 id, u64 bytes, const char *what),
	TP_ARGS(id, bytes, what),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, bytes)
		__string(what, what)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->bytes = bytes;
		__assign_str(what);
	),
	TP_printk("id=%llu bytes=%llu %s", __entry->id, __entry->bytes,
		  __get_str(what))
);

/* One entry of NOM_MEM_MAP or NOM_MEM_UNMAP. */
TRACE_EVENT(nom_map,
	TP_PROTO(u64 id, bool map, u64 va, u64 offset, u64 bytes, u32 flags, int ret),
	TP_ARGS(id, map, va, offset, bytes, flags, ret),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, va)
		__field(u64, offset)
		__field(u64, bytes)
		__field(u32, flags)
		__field(int, ret)
		__field(bool, map)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->va = va;
		__entry->offset = offset;
		__entry->bytes = bytes;
		__entry->flags = flags;
		__entry->ret = ret;
		__entry->map = map;
	),
	TP_printk("id=%llu %s va=%#llx offset=%#llx bytes=%#llx flags=%#x ret=%d",
		  __entry->id, __entry->map ? "map" : "unmap", __entry->va,
		  __entry->offset, __entry->bytes, __entry->flags, __entry->ret)
);

/* What is mapped changes its protection or its size, or is asked about. */
TRACE_EVENT(nom_change,
	TP_PROTO(u64 id, const char *what, u64 va, u64 bytes, u32 flags, int ret),
	TP_ARGS(id, what, va, bytes, flags, ret),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, va)
		__field(u64, bytes)
		__field(u32, flags)
		__field(int, ret)
		__string(what, what)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->va = va;
		__entry->bytes = bytes;
		__entry->flags = flags;
		__entry->ret = ret;
		__assign_str(what);
	),
	TP_printk("id=%llu %s va=%#llx bytes=%#llx flags=%#x ret=%d", __entry->id,
		  __get_str(what), __entry->va, __entry->bytes, __entry->flags,
		  __entry->ret)
);

/* Something posts an event to a lease; source as named by the caller. */
TRACE_EVENT(nom_event,
	TP_PROTO(u64 handle, unsigned int event, u64 count, const char *source),
	TP_ARGS(handle, event, count, source),
	TP_STRUCT__entry(
		__field(u64, handle)
		__field(u64, count)
		__field(unsigned int, event)
		__string(source, source)
	),
	TP_fast_assign(
		__entry->handle = handle;
		__entry->count = count;
		__entry->event = event;
		__assign_str(source);
	),
	TP_printk("handle=%#llx event=%u count=%llu from %s", __entry->handle,
		  __entry->event, __entry->count, __get_str(source))
);

#endif /* _NOM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE nom_trace
#include <trace/define_trace.h>
