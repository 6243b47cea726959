/*
 * Peers that misbehave without a word: `deaf` sends and never reads,
 * `announce` promises a large frame and sends none of it. Both then hold
 * their connections, for the harness to weigh the server.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUIET_MS = 1000, CHUNK = 64 * 1024 };

/* A server that keeps everything would eat the machine: enough is enough. */
#define MOST_PER_PEER (32ull * 1024 * 1024)

struct deaf {
    int fd;
    struct cursor sent;
    uint64_t taken;
};

static struct deaf *peers;
static int poller;

static void connect_all(void)
{
    peers = calloc(options.connections, sizeof *peers);
    if (!peers)
        die("calloc");
    poller = net_poller();
    for (uint32_t id = 0; id < options.connections; id++) {
        peers[id].fd = net_connect(id);
        net_nonblocking(peers[id].fd);
        net_watch(poller, peers[id].fd, EPOLLOUT | EPOLLET, id);
    }
}

/* Pipelines frames until the socket is full; true when it took anything. */
static bool flush(uint32_t id)
{
    struct deaf *peer = &peers[id];
    uint64_t before = peer->taken;
    while (peer->fd >= 0 && peer->taken < MOST_PER_PEER) {
        struct cursor next = peer->sent;
        size_t len = stream_fill(&next, id, UINT64_MAX, write_buffer, CHUNK);
        ssize_t n = send(peer->fd, write_buffer, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            result.closed++;
            close(peer->fd);
            peer->fd = -1;
            break;
        }
        stream_skip(&peer->sent, id, (size_t)n);
        peer->taken += (uint64_t)n;
    }
    result.bytes += peer->taken - before;
    return peer->taken > before;
}

void deaf_prepare(void)
{
    struct epoll_event events[EVENTS];
    connect_all();
    uint64_t moved = now_ns();
    uint64_t deadline = moved + (uint64_t)(options.seconds * 1e9);
    while (now_ns() - moved < QUIET_MS * 1000000ull && now_ns() < deadline) {
        int n = epoll_wait(poller, events, EVENTS, QUIET_MS / 10);
        for (int i = 0; i < n; i++) {
            if (flush(events[i].data.u32))
                moved = now_ns();
        }
    }
}

void announce_prepare(void)
{
    uint32_t header = htonl(options.announce);
    connect_all();
    for (uint32_t id = 0; id < options.connections; id++) {
        if (send(peers[id].fd, &header, sizeof header, MSG_NOSIGNAL) != sizeof header)
            fault(id, "the header could not be written");
    }
    usleep(QUIET_MS / 2 * 1000);
}

/* Nothing to run: tells how many connections the server has closed. */
void silent_measure(void)
{
    char byte;
    for (uint32_t id = 0; peers && id < options.connections; id++) {
        if (peers[id].fd < 0)
            continue;
        ssize_t n = recv(peers[id].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            result.closed++;
    }
}
