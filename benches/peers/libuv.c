/*
 * libuv by hand: one loop, one read buffer for all.
 *
 * The form that fast libuv servers take: clients without a partial frame own
 * no buffer, all the whole frames that a read brought go back from where they
 * lie by uv_try_write, and only what the socket did not take is kept for
 * uv_write. While that waits the client is not read, so that one that never
 * reads costs what a single read brought. A large frame is read straight into
 * a buffer of its own.
 *
 *     libuv [PORT]      (0, the default, lets the kernel choose)
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

enum { HEADER = 4, PAYLOAD_MAX = 64 * 1024 * 1024, BUFFER = 256 * 1024, SLACK = 4096, BACKLOG = 4096 };

#define MALFORMED SIZE_MAX

/*
 * `partial` holds the beginning of a frame, or is NULL:
 *
 *     | filled .......... | free ........... |
 *     0               filled             capacity
 */
struct client {
    uv_tcp_t socket;
    char *partial;
    size_t filled, capacity;
};

/* Output that the socket did not take; it owns `bytes`. */
struct rest {
    uv_write_t request;
    char *bytes;
};

static char shared[BUFFER];

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
        exit(1);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    free(client->partial);
    free(client);
}

static void drop_client(struct client *client)
{
    if (!uv_is_closing((uv_handle_t *)&client->socket))
        uv_close((uv_handle_t *)&client->socket, on_closed);
}

static size_t frame_len(const char *bytes)
{
    uint32_t payload_len;
    memcpy(&payload_len, bytes, HEADER);
    payload_len = ntohl(payload_len);
    return payload_len > PAYLOAD_MAX ? MALFORMED : HEADER + (size_t)payload_len;
}

/* How many of these bytes are whole frames, or MALFORMED. */
static size_t whole_frames(const char *bytes, size_t len)
{
    size_t end = 0;
    while (len - end >= HEADER) {
        size_t frame = frame_len(bytes + end);
        if (frame == MALFORMED)
            return MALFORMED;
        if (frame > len - end)
            break;
        end += frame;
    }
    return end;
}

/* Bytes to make room for: at most twice what came, whatever was announced. */
static size_t room(const char *bytes, size_t len)
{
    size_t most = 2 * len + SLACK;
    if (len < HEADER)
        return SLACK;
    return frame_len(bytes) < most ? frame_len(bytes) : most;
}

static void alloc_read(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *client = handle->data;
    (void)suggested;
    if (!client->partial) {
        *buf = uv_buf_init(shared, BUFFER);
        return;
    }
    if (client->filled == client->capacity) {
        size_t capacity = room(client->partial, client->filled);
        char *grown = realloc(client->partial, capacity);
        if (!grown) { /* libuv reports UV_ENOBUFS to on_read */
            *buf = uv_buf_init(NULL, 0);
            return;
        }
        client->partial = grown;
        client->capacity = capacity;
    }
    *buf = uv_buf_init(client->partial + client->filled, (unsigned)(client->capacity - client->filled));
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf);

static void on_written(uv_write_t *request, int status)
{
    struct rest *rest = request->data;
    struct client *client = request->handle->data;
    free(rest->bytes);
    free(rest);
    if (status < 0 || uv_read_start((uv_stream_t *)&client->socket, alloc_read, on_read) < 0)
        drop_client(client);
}

/* Copies what the socket did not take, and reads no more until it is gone. */
static int write_later(struct client *client, const char *bytes, size_t len)
{
    uv_stream_t *stream = (uv_stream_t *)&client->socket;
    struct rest *rest = malloc(sizeof *rest);
    char *copy = malloc(len);
    if (!rest || !copy) {
        free(rest);
        free(copy);
        return UV_ENOMEM;
    }
    memcpy(copy, bytes, len);
    rest->bytes = copy;
    rest->request.data = rest;
    uv_read_stop(stream);
    uv_buf_t buf = uv_buf_init(copy, (unsigned)len);
    return uv_write(&rest->request, stream, &buf, 1, on_written);
}

static int reply(struct client *client, char *bytes, size_t len)
{
    uv_buf_t buf = uv_buf_init(bytes, (unsigned)len);
    int written = uv_try_write((uv_stream_t *)&client->socket, &buf, 1);
    if (written == UV_EAGAIN)
        written = 0;
    if (written < 0 || (size_t)written == len)
        return written;
    return write_later(client, bytes + written, len - (size_t)written);
}

/* Keeps the beginning of a frame, which lies in `bytes` or already here. */
static int keep(struct client *client, const char *bytes, size_t len)
{
    char *old = client->partial;
    if (len == 0) {
        client->partial = NULL;
    } else if (old) {
        memmove(old, bytes, len);
        client->filled = len;
        return 0;
    } else {
        client->capacity = room(bytes, len);
        client->partial = malloc(client->capacity);
        if (!client->partial)
            return UV_ENOMEM;
        memcpy(client->partial, bytes, len);
        client->filled = len;
    }
    free(old);
    return 0;
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    (void)buf;
    if (count < 0) /* nothing is owed: what is owed stops the reading */
        return drop_client(client);
    char *bytes = client->partial ? client->partial : shared;
    size_t len = (size_t)count + (client->partial ? client->filled : 0);
    size_t whole = whole_frames(bytes, len);
    if (whole == MALFORMED || (whole > 0 && reply(client, bytes, whole) < 0))
        return drop_client(client);
    if (keep(client, bytes + whole, len - whole) < 0)
        drop_client(client);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct client *client = status < 0 ? NULL : calloc(1, sizeof *client);
    if (!client)
        return;
    uv_tcp_init(listener->loop, &client->socket);
    client->socket.data = client;
    uv_stream_t *stream = (uv_stream_t *)&client->socket;
    if (uv_accept(listener, stream) < 0 || uv_tcp_nodelay(&client->socket, 1) < 0 ||
        uv_read_start(stream, alloc_read, on_read) < 0)
        drop_client(client);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in at;
    int len = sizeof at;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0, &at);
    check(uv_tcp_init(loop, &listener), "socket");
    check(uv_tcp_bind(&listener, (struct sockaddr *)&at, 0), "bind");
    check(uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection), "listen");
    check(uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len), "getsockname");
    printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
