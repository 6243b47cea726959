/* Short lives: connect, one frame, its reply, close; then the next one. */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct life {
    int fd; /* -1 between two lives */
    uint32_t id;
    struct cursor seen;
    uint64_t born;
};

static struct life *lives;
static int poller;
static uint32_t next_id, alive;

static void begin(uint32_t slot)
{
    struct life *life = &lives[slot];
    struct cursor sent = {0, 0};
    *life = (struct life){.id = next_id++, .born = now_ns()};
    life->fd = net_connect(life->id);
    size_t len = stream_fill(&sent, life->id, 1, write_buffer, WRITE_BUFFER);
    if (send(life->fd, write_buffer, len, MSG_NOSIGNAL) != (ssize_t)len)
        fault(life->id, "the frame could not be written at once");
    net_nonblocking(life->fd);
    net_watch(poller, life->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, slot);
    alive++;
}

static void end(struct life *life)
{
    close(life->fd);
    life->fd = -1;
    alive--;
}

static void on_reply(struct life *life)
{
    ssize_t n = recv(life->fd, read_buffer, READ_BUFFER, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !stream_check(&life->seen, life->id, read_buffer, (size_t)n)) {
        fault(life->id, n <= 0 ? "closed by the server" : "the bytes returned are not the bytes sent");
        return end(life);
    }
    result.bytes += (uint64_t)n;
    if (life->seen.frame == 0)
        return;
    hist_add(FROM_SENT, now_ns() - life->born);
    result.messages++;
    end(life);
}

static void turn(bool again)
{
    static struct epoll_event events[EVENTS];
    int n = epoll_wait(poller, events, EVENTS, 100);
    for (int i = 0; i < n; i++) {
        uint32_t slot = events[i].data.u32;
        if (lives[slot].fd >= 0)
            on_reply(&lives[slot]);
        if (lives[slot].fd < 0 && again)
            begin(slot);
    }
}

static void run(double seconds, uint64_t frames)
{
    result = (struct result){.errors = result.errors};
    hist_reset();
    uint64_t start = now_ns();
    uint64_t stop = start + (uint64_t)(seconds * 1e9);
    uint64_t limit = frames ? frames : UINT64_MAX;
    for (uint32_t slot = 0; slot < options.connections; slot++)
        begin(slot);
    while (now_ns() < stop && result.messages + alive < limit)
        turn(true);
    uint64_t deadline = now_ns() + DRAIN_SECONDS * 1000000000ull;
    while (alive > 0 && now_ns() < deadline)
        turn(false);
    if (alive > 0)
        fault(0, "frames were still unanswered when time was up");
    result.seconds = (double)(now_ns() - start) / 1e9;
}

void churn_prepare(void)
{
    lives = calloc(options.connections, sizeof *lives);
    if (!lives)
        die("calloc");
    poller = net_poller();
    run(options.warmup, 0);
}

void churn_measure(void)
{
    run(options.seconds, options.frames);
}
