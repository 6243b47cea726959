/* Connecting, the clock, and ending on a fault. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PER_SOURCE = 4096, SOURCES = 250, NAMED_FAULTS = 5 };

static struct sockaddr_in target;

void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

void fault(uint32_t connection, const char *what)
{
    if (result.errors++ < NAMED_FAULTS)
        fprintf(stderr, "load: connection %u: %s\n", connection, what);
}

uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

void net_target(const char *address)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    errno = EINVAL;
    if (!colon || (size_t)(colon - address) >= sizeof host)
        die(address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &target.sin_addr) != 1)
        die(address);
}

/*
 * The ports of one source address would run out, used up by open connections
 * and, run after run, by those in TIME_WAIT. All of 127/8 is ours: take
 * another address every few thousand connections, starting anywhere.
 */
static void spread_source(int fd, uint32_t nth)
{
    int on = 1;
    uint32_t source = ((uint32_t)getpid() + nth / PER_SOURCE) % SOURCES;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000101 + source);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        die("bind");
}

/* Blocking: on loopback the kernel completes it before it returns. */
int net_connect(uint32_t nth)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if ((ntohl(target.sin_addr.s_addr) >> 24) == 127)
        spread_source(fd, nth);
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void net_nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
}

int net_poller(void)
{
    int poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        die("epoll_create1");
    return poller;
}

void net_watch(int poller, int fd, uint32_t events, uint32_t slot)
{
    struct epoll_event event = {.events = events, .data.u32 = slot};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}
