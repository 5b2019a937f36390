/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access to memory that a peer can change at any time.
 *
 * Theory of operation
 * -------------------
 * Every word that the other side can write is read through this header, exactly once, into a
 * private variable; the variable is checked, and the variable is used ("load once, copy, check the
 * copy, use the copy"). Every word that the other side polls is written through this header.
 * Nothing else in the tree touches shared memory through plain C accesses, except payload bytes,
 * whose meaning zvsock never interprets.
 *
 * The functions name the ordering that they give. docs/memory-ordering.md lists each pair of
 * barriers; the letters used in comments ("barrier pair [A]") are those of that list.
 */
#ifndef ZV_SHM_ACCESS_H
#define ZV_SHM_ACCESS_H

#include <stdint.h>
#include <string.h>

/* Size of a cache line, and the distance that keeps two hot words from sharing one. */
#define SHM_CACHE_LINE	  64
#define SHM_CACHE_ALIGNED __attribute__((aligned(SHM_CACHE_LINE)))

#if defined(__SANITIZE_THREAD__)
#define SHM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHM_TSAN 1
#endif
#endif

#define SHM_DEFINE_ACCESS(bits)                                                                    \
	/* One plain load that the compiler can neither repeat nor tear. */                        \
	static inline uint##bits##_t shm_load##bits(const uint##bits##_t *p)                       \
	{                                                                                          \
		return __atomic_load_n(p, __ATOMIC_RELAXED);                                       \
	}                                                                                          \
	/* Loads an index: what the peer wrote before publishing it is visible afterwards. */      \
	static inline uint##bits##_t shm_load_acquire##bits(const uint##bits##_t *p)               \
	{                                                                                          \
		return __atomic_load_n(p, __ATOMIC_ACQUIRE);                                       \
	}                                                                                          \
	/* One plain store. */                                                                     \
	static inline void shm_store##bits(uint##bits##_t *p, uint##bits##_t v)                    \
	{                                                                                          \
		__atomic_store_n(p, v, __ATOMIC_RELAXED);                                          \
	}                                                                                          \
	/* Publishes an index: everything written before is visible to who acquires it. */         \
	static inline void shm_store_release##bits(uint##bits##_t *p, uint##bits##_t v)            \
	{                                                                                          \
		__atomic_store_n(p, v, __ATOMIC_RELEASE);                                          \
	}

SHM_DEFINE_ACCESS(16)
SHM_DEFINE_ACCESS(32)
SHM_DEFINE_ACCESS(64)

/* Sets bits: what was written before is visible to whoever takes them. */
static inline void shm_or_release64(uint64_t *p, uint64_t bits)
{
	(void)__atomic_fetch_or(p, bits, __ATOMIC_RELEASE);
}

/* Takes all bits, and leaves 0. */
static inline uint64_t shm_take_acquire64(uint64_t *p)
{
	return __atomic_exchange_n(p, 0, __ATOMIC_ACQUIRE);
}

/*
 * Replaces @was by @now if *p is @was; true when it did. What was written before is visible to a
 * reader of @now.
 */
static inline int shm_swap64(uint64_t *p, uint64_t was, uint64_t now)
{
	return __atomic_compare_exchange_n(p, &was, now, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline int shm_swap32(uint32_t *p, uint32_t was, uint32_t now)
{
	return __atomic_compare_exchange_n(p, &was, now, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/*
 * Full barrier: orders an earlier store against a later load. Needed only between publishing an
 * index and reading the peer's wish to be notified, and between arming and the last look.
 */
static inline void shm_mb(void)
{
#ifdef SHM_TSAN
	/*
	 * TSan does not know fences, and gcc warns of each one. Nothing is lost: what the fence
	 * orders are atomics, which TSan never reports, and a fence lends no order to plain
	 * accesses. On x86 an exchange is the same barrier; on a word of its own, unlike one that
	 * threads share, it does not hide races from TSan either.
	 */
	uint32_t own = 0;

	(void)__atomic_exchange_n(&own, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Hint for the inside of a spin loop. */
static inline void shm_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield" ::: "memory");
#endif
}

/*
 * One load of a word at any alignment. volatile, because memcpy() into a local variable is not
 * enough: gcc 12 takes such a variable apart and loads a field as often as it is used.
 */
static inline uint64_t shm_load64_any(const void *p)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) word;

	return *(const volatile word *)p;
}

static inline uint32_t shm_load32_any(const void *p)
{
	typedef uint32_t __attribute__((aligned(1), may_alias)) word;

	return *(const volatile word *)p;
}

/* Copies a structure out of shared memory once; the copy is what may be checked and used. */
static inline void shm_copy_in(void *dst, const void *shared, size_t len)
{
	memcpy(dst, shared, len);
	/*
	 * The statement is told the copy's address, so the copy must be complete before it and is
	 * read after it. Without that the compiler may go back to the shared bytes for a field.
	 */
	__asm__ __volatile__("" ::"r"(dst) : "memory");
}

static inline void shm_prefetch(const void *p)
{
	__builtin_prefetch(p, 0, 3);
}

static inline void shm_prefetch_write(void *p)
{
	__builtin_prefetch(p, 1, 3);
}

#endif
