/*
 * The closed loop: every connection keeps `depth` frames in flight and sends
 * the next as a reply comes back. A window ends drained: every frame counted
 * was also answered inside it, so the server's CPU time belongs to exactly
 * the frames reported.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    int fd; /* -1 once it has failed */
    struct cursor sent, seen;
    uint64_t *sent_at; /* ring of `depth` */
};

static struct peer *peers;
static int poller;
static uint64_t now, in_flight, frames_left;
static bool sending;

static void fail(uint32_t id, const char *what)
{
    struct peer *peer = &peers[id];
    fault(id, what);
    in_flight -= stream_begun(peer->sent) - peer->seen.frame;
    close(peer->fd);
    peer->fd = -1;
}

/* The frame before which this peer must stop: one begun must be finished. */
static uint64_t send_limit(const struct peer *peer)
{
    uint64_t begun = stream_begun(peer->sent);
    uint64_t room = peer->seen.frame + options.depth - begun;
    if (!sending)
        return begun;
    return begun + (room < frames_left ? room : frames_left);
}

static void stamp(struct peer *peer, uint64_t from)
{
    uint64_t to = stream_begun(peer->sent);
    for (uint64_t frame = from; frame < to; frame++)
        peer->sent_at[frame % options.depth] = now;
    in_flight += to - from;
    frames_left -= to - from;
}

/* Writes all it may, usually in one call. */
static void flush(uint32_t id)
{
    struct peer *peer = &peers[id];
    for (;;) {
        struct cursor next = peer->sent;
        uint64_t begun = stream_begun(peer->sent);
        size_t len = stream_fill(&next, id, send_limit(peer), write_buffer, WRITE_BUFFER);
        if (len == 0)
            return;
        ssize_t n = send(peer->fd, write_buffer, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            return fail(id, "write failed");
        if ((size_t)n == len)
            peer->sent = next;
        else
            stream_skip(&peer->sent, id, (size_t)n);
        stamp(peer, begun);
        if ((size_t)n < len)
            return;
    }
}

static void count(struct peer *peer, uint64_t from)
{
    for (uint64_t frame = from; frame < peer->seen.frame; frame++)
        hist_add(FROM_SENT, now - peer->sent_at[frame % options.depth]);
    in_flight -= peer->seen.frame - from;
    result.messages += peer->seen.frame - from;
}

/* Reads and checks; a short read has emptied the socket. */
static void fill(uint32_t id)
{
    struct peer *peer = &peers[id];
    for (;;) {
        ssize_t n = recv(peer->fd, read_buffer, READ_BUFFER, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            return fail(id, n == 0 ? "closed by the server" : "read failed");
        now = now_ns();
        uint64_t from = peer->seen.frame;
        if (!stream_check(&peer->seen, id, read_buffer, (size_t)n))
            return fail(id, "the bytes returned are not the bytes sent");
        if (stream_begun(peer->seen) > stream_begun(peer->sent))
            return fail(id, "more returned than sent");
        result.bytes += (uint64_t)n;
        count(peer, from);
        if (n < READ_BUFFER)
            return;
    }
}

static void turn(int timeout_ms)
{
    static struct epoll_event events[EVENTS];
    int n = epoll_wait(poller, events, EVENTS, timeout_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    now = now_ns();
    for (int i = 0; i < n; i++) {
        uint32_t id = events[i].data.u32;
        if (peers[id].fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
            fill(id);
        if (peers[id].fd >= 0)
            flush(id);
    }
}

static void drain(void)
{
    uint64_t deadline = now_ns() + DRAIN_SECONDS * 1000000000ull;
    sending = false;
    while (in_flight > 0 && now < deadline)
        turn(100);
    if (in_flight > 0)
        fault(0, "frames were still unanswered when time was up");
}

/* One window of at most `seconds` and `frames`. */
static void run(double seconds, uint64_t frames)
{
    result = (struct result){.errors = result.errors};
    hist_reset();
    uint64_t start = now = now_ns();
    uint64_t end = start + (uint64_t)(seconds * 1e9);
    frames_left = frames ? frames : UINT64_MAX;
    sending = true;
    for (uint32_t id = 0; id < options.connections; id++) {
        if (peers[id].fd >= 0)
            flush(id);
    }
    while (now < end && frames_left > 0 && in_flight > 0)
        turn(10);
    drain();
    result.seconds = (double)(now_ns() - start) / 1e9;
}

static void connect_all(void)
{
    uint64_t *rings = calloc((size_t)options.connections * options.depth, sizeof *rings);
    peers = calloc(options.connections, sizeof *peers);
    poller = net_poller();
    if (!peers || !rings)
        die("calloc");
    for (uint32_t id = 0; id < options.connections; id++) {
        peers[id].fd = net_connect(id);
        peers[id].sent_at = rings + (size_t)id * options.depth;
        net_nonblocking(peers[id].fd);
        net_watch(poller, peers[id].fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, id);
    }
}

void echo_prepare(void)
{
    connect_all();
    run(options.warmup, 0);
}

void echo_measure(void)
{
    run(options.seconds, options.frames);
}

/* Exactly one frame each: `frames_left` is used up before any second one. */
void idle_prepare(void)
{
    options.depth = 1;
    connect_all();
    run(DRAIN_SECONDS, options.connections);
}
