/*
 * The floor: the least a correct echo server can do on Linux.
 *
 * One thread, one epoll instance, every peer registered once for both
 * directions and edge-triggered. It knows nothing of frames: what it reads
 * into one shared buffer it writes back, so a message costs two system calls.
 * Bytes the socket does not take are kept in a malloc of that peer, and
 * nothing more is read from it until they are gone. No limits, no timeouts.
 *
 *     floor PORT      (0 lets the kernel choose)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024, EVENTS = 1024, BACKLOG = 4096 };

/* What a peer's socket did not take yet; `bytes` is NULL when nothing waits. */
struct rest {
    char *bytes;
    size_t start, end;
};

static char buffer[BUFFER];
static struct rest *rests; /* by descriptor; untouched pages cost nothing */
static int poller;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void drop_peer(int fd)
{
    free(rests[fd].bytes);
    rests[fd].bytes = NULL;
    close(fd); /* also takes it out of the epoll set */
}

/* Writes what waits. 1: all gone, 0: the socket is full again, -1: broken. */
static int flush(int fd)
{
    struct rest *rest = &rests[fd];
    size_t len = rest->end - rest->start;
    ssize_t n = write(fd, rest->bytes + rest->start, len);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    rest->start += (size_t)n;
    if ((size_t)n < len)
        return 0; /* a short write arms the next EPOLLOUT edge */
    free(rest->bytes);
    rest->bytes = NULL;
    return 1;
}

static int keep(int fd, const char *bytes, size_t len)
{
    char *copy = malloc(len);
    if (!copy)
        return -1;
    memcpy(copy, bytes, len);
    rests[fd] = (struct rest){.bytes = copy, .start = 0, .end = len};
    return 0;
}

/*
 * Echoes until the peer has sent no more, or takes no more. A read that did
 * not fill the buffer has emptied the socket: later bytes bring a new edge,
 * so only `closing` (an end already seen) is worth another read.
 */
static void echo(int fd, int closing)
{
    for (;;) {
        ssize_t n = read(fd, buffer, BUFFER);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            return drop_peer(fd);
        ssize_t w = write(fd, buffer, (size_t)n);
        if (w < 0 && errno != EAGAIN)
            return drop_peer(fd);
        if (w < 0)
            w = 0;
        if (w < n) {
            if (keep(fd, buffer + w, (size_t)(n - w)) < 0)
                drop_peer(fd);
            return;
        }
        if (n < BUFFER && !closing)
            return;
    }
}

static void on_peer(int fd, uint32_t events)
{
    if (rests[fd].bytes) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            return;
        int done = flush(fd);
        if (done < 0)
            drop_peer(fd);
        if (done <= 0)
            return;
    }
    uint32_t closing = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if (closing || (events & EPOLLIN))
        echo(fd, closing != 0);
}

static void on_listener(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
            return; /* the listener is level-triggered */
        if (fd < 0)
            die("accept4");
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            .data.fd = fd,
        };
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof at;
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, len) < 0)
        die("bind");
    if (listen(fd, BACKLOG) < 0)
        die("listen");
    if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        die("getsockname");
    printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

/* As many descriptors as we may have, and a slot for each of them. */
static void make_room(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit");
    if (limit.rlim_max > 1 << 20)
        limit.rlim_max = 1 << 20;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("setrlimit");
    rests = calloc(limit.rlim_cur, sizeof *rests);
    if (!rests)
        die("calloc");
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    signal(SIGPIPE, SIG_IGN);
    make_room();
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                on_listener(listener);
            else
                on_peer(events[i].data.fd, events[i].events);
        }
    }
}
