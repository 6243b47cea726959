/*
 * Boost.Asio by hand: one io_context, on one thread.
 *
 * The form of its fast servers: a client waits by async_wait, which needs no
 * buffer, so all clients share one; the socket does not block, so a read that
 * follows and the write of all the whole frames it brought are plain calls.
 * Only what the socket did not take is kept and goes by async_write, and
 * until then the client is not read: one that never reads costs what a single
 * read brought. A large frame is read straight into a buffer of its own.
 *
 *     asio [PORT]      (0, the default, lets the kernel choose)
 */
#define BOOST_ERROR_CODE_HEADER_ONLY
#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <sys/resource.h>
#include <utility>

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::size_t header_len = 4;
constexpr std::size_t payload_max = 64 * 1024 * 1024;
constexpr std::size_t slack = 4096;
constexpr int backlog = 4096;
constexpr std::size_t malformed = SIZE_MAX;

/* Named by type, no polymorphic executor: calls are bound when compiled. */
using executor = asio::io_context::executor_type;
using socket_type = asio::basic_stream_socket<tcp, executor>;
using acceptor_type = asio::basic_socket_acceptor<tcp, executor>;

std::array<std::uint8_t, 256 * 1024> shared;

std::size_t frame_len(const std::uint8_t *at)
{
    std::size_t payload_len = std::uint32_t{at[0]} << 24 | at[1] << 16 | at[2] << 8 | at[3];
    return payload_len > payload_max ? malformed : header_len + payload_len;
}

/* How many of these bytes are whole frames, or `malformed`. */
std::size_t whole_frames(const std::uint8_t *bytes, std::size_t len)
{
    std::size_t end = 0;
    while (len - end >= header_len) {
        auto frame = frame_len(bytes + end);
        if (frame == malformed)
            return malformed;
        if (frame > len - end)
            break;
        end += frame;
    }
    return end;
}

/* Bytes to make room for: at most twice what came, whatever was announced. */
std::size_t room(const std::uint8_t *bytes, std::size_t len)
{
    return len < header_len ? slack : std::min(frame_len(bytes), 2 * len + slack);
}

/* Bytes on the heap that are not zeroed first. */
struct buffer {
    std::unique_ptr<std::uint8_t[]> bytes;
    std::size_t filled = 0, capacity = 0;

    buffer() = default;

    buffer(const std::uint8_t *from, std::size_t len, std::size_t capacity)
        : bytes(new std::uint8_t[capacity]), filled(len), capacity(capacity)
    {
        std::copy_n(from, len, bytes.get());
    }
};

class client : public std::enable_shared_from_this<client> {
public:
    explicit client(socket_type socket) : socket_(std::move(socket)) {}

    void start()
    {
        error_code failed;
        socket_.set_option(tcp::no_delay(true), failed);
        socket_.non_blocking(true, failed);
        if (!failed)
            wait();
    }

private:
    /* The client lives as long as something of it is waited for. */
    void wait()
    {
        socket_.async_wait(socket_type::wait_read, [self = shared_from_this()](error_code failed) {
            if (!failed)
                self->on_readable();
        });
    }

    void on_readable()
    {
        error_code failed;
        auto free = free_space();
        auto received = socket_.read_some(free, failed);
        if (failed == asio::error::would_block)
            return wait();
        if (failed)
            return;
        on_bytes(received);
    }

    asio::mutable_buffer free_space()
    {
        if (!partial_.bytes)
            return asio::buffer(shared);
        if (partial_.filled == partial_.capacity)
            partial_ = buffer(partial_.bytes.get(), partial_.filled, room(partial_.bytes.get(), partial_.filled));
        return asio::buffer(partial_.bytes.get() + partial_.filled, partial_.capacity - partial_.filled);
    }

    void on_bytes(std::size_t received)
    {
        const auto *bytes = partial_.bytes ? partial_.bytes.get() : shared.data();
        auto len = partial_.filled + received;
        auto whole = whole_frames(bytes, len);
        if (whole == malformed)
            return;
        error_code failed;
        auto sent = whole == 0 ? 0 : socket_.write_some(asio::buffer(bytes, whole), failed);
        if (failed && failed != asio::error::would_block)
            return;
        if (sent < whole)
            rest_ = buffer(bytes + sent, whole - sent, whole - sent);
        keep(bytes + whole, len - whole);
        if (sent < whole)
            write_rest();
        else
            wait();
    }

    /* Keeps the beginning of a frame. */
    void keep(const std::uint8_t *bytes, std::size_t len)
    {
        if (len == 0) {
            partial_ = buffer();
        } else if (partial_.bytes) {
            std::copy_n(bytes, len, partial_.bytes.get());
            partial_.filled = len;
        } else {
            partial_ = buffer(bytes, len, room(bytes, len));
        }
    }

    void write_rest()
    {
        auto rest = asio::buffer(rest_.bytes.get(), rest_.filled);
        asio::async_write(socket_, rest, [self = shared_from_this()](error_code failed, std::size_t) {
            self->rest_ = buffer();
            if (!failed)
                self->wait();
        });
    }

    socket_type socket_;
    buffer partial_, rest_;
};

void accept(acceptor_type &acceptor)
{
    acceptor.async_accept([&acceptor](error_code failed, socket_type socket) {
        if (!failed)
            std::make_shared<client>(std::move(socket))->start();
        accept(acceptor);
    });
}

void raise_descriptor_limit()
{
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

} // namespace

/* Asio sends with MSG_NOSIGNAL: SIGPIPE needs no care. */
int main(int argc, char **argv)
try {
    raise_descriptor_limit();
    /* One thread and nothing from outside it: no locks at all. */
    asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
    auto port = static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 0);
    tcp::endpoint at(asio::ip::address_v4::loopback(), port);
    acceptor_type acceptor(context.get_executor());
    acceptor.open(at.protocol());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(at);
    acceptor.listen(backlog);
    std::cout << "listening on " << acceptor.local_endpoint() << std::endl;
    accept(acceptor);
    context.run();
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
