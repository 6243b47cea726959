/*
 * The load generator: what its files share.
 *
 *   load.c    options, and the dialogue with the harness
 *   net.c     connecting, the clock, ending on a fault
 *   stream.c  which bytes a connection sends, and so must get back
 *   hist.c    latencies
 *   echo.c    the closed loop, and `idle` built on it
 *   churn.c   one frame a connection
 *   silent.c  peers that misbehave: `deaf` and `announce`
 *   pace.c    `bystander`: one client on a fixed schedule
 *   open.c    the open loop: all connections in turn, on a fixed schedule
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

enum {
    READ_BUFFER = 256 * 1024,
    WRITE_BUFFER = 256 * 1024,
    EVENTS = 512,
    DRAIN_SECONDS = 10,
    HEADER = 4,
};

struct options {
    const char *mode, *target;
    uint32_t connections, depth, size_min, size_max, announce;
    uint64_t frames; /* stop after so many, 0: no such stop */
    double seconds, warmup, rate;
};

/* What one measured window saw; printed as one line of JSON. */
struct result {
    uint64_t messages, bytes, errors, closed;
    double seconds;
};

extern struct options options;
extern struct result result;
extern char read_buffer[READ_BUFFER], write_buffer[WRITE_BUFFER];

/* net.c */
void die(const char *what);
uint64_t now_ns(void);
void net_target(const char *address);
int net_connect(uint32_t nth);
void net_nonblocking(int fd);
int net_poller(void);
void net_watch(int poller, int fd, uint32_t events, uint32_t slot);
/* Counts a fault and names the first few of them on stderr. */
void fault(uint32_t connection, const char *what);

/* stream.c: a place in the bytes of one connection, header included. */
struct cursor {
    uint64_t frame;
    uint32_t offset;
};
void stream_init(void);
uint32_t stream_payload_len(uint32_t connection, uint64_t frame);
/* Writes the bytes at `at` up to frame `end`, at most `cap`, and moves on. */
size_t stream_fill(struct cursor *at, uint32_t connection, uint64_t end, char *out, size_t cap);
/* Moves on without writing. */
void stream_skip(struct cursor *at, uint32_t connection, size_t len);
/* Compares every byte and moves on; false at the first difference. */
bool stream_check(struct cursor *at, uint32_t connection, const char *in, size_t len);
/* Frames of which at least one byte lies before this place. */
uint64_t stream_begun(struct cursor at);

/* hist.c: from when a frame was sent, or from when it was due. */
enum latency { FROM_SENT, FROM_DUE, LATENCIES };
void hist_reset(void);
void hist_add(enum latency which, uint64_t ns);
bool hist_has(enum latency which);
double hist_us(enum latency which, double quantile);
double hist_max_us(enum latency which);

/* A mode gets ready, then measures once when the harness says so. */
void echo_prepare(void);
void echo_measure(void);
void idle_prepare(void);
void churn_prepare(void);
void churn_measure(void);
void deaf_prepare(void);
void announce_prepare(void);
void silent_measure(void);
void bystander_prepare(void);
void bystander_measure(void);
void open_prepare(void);
void open_measure(void);

#endif
