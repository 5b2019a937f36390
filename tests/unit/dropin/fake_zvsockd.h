/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What zvsockd does at a drop-in directory, as a thread of the test: what it answers is decided by
 * the port that is asked for, and the guest's end of a connection is in the test's hands.
 */
#ifndef ZV_TEST_FAKE_ZVSOCKD_H
#define ZV_TEST_FAKE_ZVSOCKD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAKE_GUEST 3u /* the CID of the only guest */

/* Ports of the guest; BIND takes them likewise. Others are accepted. */
#define FAKE_REFUSES(err) (10000u + (unsigned)(err)) /* with a text */
#define FAKE_SILENT	  20000u		     /* no answer, ever */
#define FAKE_ENDS	  20001u		     /* hangs up instead of an answer */
#define FAKE_GARBAGE	  20002u
#define FAKE_SHORT	  20003u
#define FAKE_LONG	  20004u
#define FAKE_OTHER	  20005u /* the answer to another question */
#define FAKE_POSITIVE	  20006u /* a result that is no errno */
#define FAKE_PASSES	  20007u /* a descriptor beside the right answer */
#define FAKE_FORGETS	  20008u /* ends after the answer, and the next one knows nothing of it */
/* Of a non-blocking CONNECT: what happens once it is FILLED; fake_decide() decides others. */
#define FAKE_LATER 30000u

/* Makes a directory, begins. Returns the directory. */
const char *fake_begin(void);
void fake_end(void);

/* A socket that has come to DIR/TYPE; waits for one. Its label is that of CONNECT. */
int fake_took(void);
/* Decides what the last non-blocking CONNECT was about: 0: accepted, an errno: refused. */
void fake_decide(int err);
/* CONNECTs whose program has hung up before they were answered. */
unsigned fake_withdrawn(void);
/* CONNECTs that came. */
unsigned fake_connects(void);
/* HELLOs that came. */
unsigned fake_hellos(void);
/* SHUTDOWNs that came, and the label of the last one. */
unsigned fake_shutdowns(char label[static 100]);

/* fork(2), after which the child can connect. */
pid_t fake_fork(void);

/* Connects to the port @port that a program has bound, as the guest's port @from. */
int fake_guest_connects(uint32_t port, uint32_t from);

/* The same by somebody else: the label's view, or 0: no label. */
int fake_stranger_connects(uint32_t port, char view);

/* By a program that says of both ends that they have @cid, and of its own port that it is @from. */
int fake_program_connects(uint32_t cid, uint32_t port, uint32_t from);

#endif
