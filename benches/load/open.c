/*
 * The open loop: frame k is due at k / rate, on connection k mod N, whatever
 * the server does. Latencies are taken both from when a frame was due and from
 * when it was handed to the kernel. Nothing is sent behind a full socket: that
 * many frames without an answer are a fault here.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { IN_FLIGHT_MAX = 256 };

/* Of one frame in flight. */
struct times {
    uint64_t due, sent;
};

struct peer {
    int fd;
    struct cursor sent, seen;
    struct times times[IN_FLIGHT_MAX]; /* a ring; untouched pages cost nothing */
};

static struct peer *peers;
static int poller;
static uint64_t in_flight, start;

static uint64_t due_of(uint64_t frame)
{
    return start + (uint64_t)((double)frame * (1e9 / options.rate));
}

static void send_one(uint32_t id, uint64_t due)
{
    struct peer *peer = &peers[id];
    uint64_t frame = peer->sent.frame;
    if (frame - peer->seen.frame == IN_FLIGHT_MAX)
        return fault(id, "too many frames are unanswered");
    peer->times[frame % IN_FLIGHT_MAX] = (struct times){due, now_ns()};
    size_t len = stream_fill(&peer->sent, id, frame + 1, write_buffer, WRITE_BUFFER);
    if (send(peer->fd, write_buffer, len, MSG_NOSIGNAL) != (ssize_t)len)
        return fault(id, "a frame could not be sent in one piece");
    in_flight++;
}

static void receive(uint32_t id)
{
    struct peer *peer = &peers[id];
    uint64_t from = peer->seen.frame;
    ssize_t n = recv(peer->fd, read_buffer, READ_BUFFER, 0);
    uint64_t now = now_ns();
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !stream_check(&peer->seen, id, read_buffer, (size_t)n))
        return fault(id, "no reply, or not the bytes sent");
    result.bytes += (uint64_t)n;
    for (uint64_t frame = from; frame < peer->seen.frame; frame++) {
        hist_add(FROM_SENT, now - peer->times[frame % IN_FLIGHT_MAX].sent);
        hist_add(FROM_DUE, now - peer->times[frame % IN_FLIGHT_MAX].due);
        in_flight--;
        result.messages++;
    }
}

/* Receives until something is due, to the nanosecond. */
static void receive_until(uint64_t due)
{
    static struct epoll_event events[EVENTS];
    uint64_t now = now_ns();
    uint64_t wait = due > now ? due - now : 0;
    struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    int n = epoll_pwait2(poller, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < n; i++)
        receive(events[i].data.u32);
}

static void run(double seconds)
{
    result = (struct result){.errors = result.errors};
    hist_reset();
    start = now_ns();
    uint64_t frames = (uint64_t)(seconds * options.rate);
    for (uint64_t frame = 0; frame < frames && result.errors == 0;) {
        receive_until(due_of(frame));
        while (frame < frames && due_of(frame) <= now_ns()) {
            send_one((uint32_t)(frame % options.connections), due_of(frame));
            frame++;
        }
    }
    uint64_t deadline = now_ns() + DRAIN_SECONDS * 1000000000ull;
    while (in_flight > 0 && result.errors == 0 && now_ns() < deadline)
        receive_until(deadline);
    if (in_flight > 0)
        fault(0, "frames were still unanswered when time was up");
    result.seconds = (double)(now_ns() - start) / 1e9;
}

void open_prepare(void)
{
    prctl(PR_SET_TIMERSLACK, 1);
    peers = calloc(options.connections, sizeof *peers);
    if (!peers)
        die("calloc");
    poller = net_poller();
    for (uint32_t id = 0; id < options.connections; id++) {
        peers[id].fd = net_connect(id);
        net_nonblocking(peers[id].fd);
        net_watch(poller, peers[id].fd, EPOLLIN | EPOLLET, id);
    }
    run(options.warmup);
}

void open_measure(void)
{
    run(options.seconds);
}
