import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.ServerChannel;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import java.net.InetSocketAddress;

/**
 * Netty: one event loop, frames by its own LengthFieldBasedFrameDecoder.
 *
 * <p>The form of its fast servers: the decoder leaves the header in place, so that a reply is a
 * slice of what was read and no LengthFieldPrepender is needed; replies are flushed once for each
 * read; and a client whose replies wait over the mark is not read until they are gone. The
 * transport is the kernel's epoll where Netty's native library can be loaded, and NIO otherwise.
 */
public final class Echo {
    private static final int HEADER_LEN = 4;
    private static final int PAYLOAD_MAX = 64 * 1024 * 1024;
    private static final int BACKLOG = 4096;

    public static void main(String[] args) throws InterruptedException {
        int port = args.length > 0 ? Integer.parseInt(args[0]) : 0;
        boolean epoll = Epoll.isAvailable();
        EventLoopGroup loop = epoll ? new EpollEventLoopGroup(1) : new NioEventLoopGroup(1);
        Class<? extends ServerChannel> transport =
                epoll ? EpollServerSocketChannel.class : NioServerSocketChannel.class;
        Channel listener =
                new ServerBootstrap()
                        .group(loop)
                        .channel(transport)
                        .option(ChannelOption.SO_BACKLOG, BACKLOG)
                        .childOption(ChannelOption.TCP_NODELAY, true)
                        .childOption(ChannelOption.ALLOW_HALF_CLOSURE, true)
                        .childHandler(new Pipeline())
                        .bind(new InetSocketAddress("127.0.0.1", port))
                        .sync()
                        .channel();
        InetSocketAddress at = (InetSocketAddress) listener.localAddress();
        System.out.println("listening on 127.0.0.1:" + at.getPort());
        listener.closeFuture().sync();
    }

    private static final class Pipeline extends ChannelInitializer<Channel> {
        @Override
        protected void initChannel(Channel channel) {
            channel.pipeline()
                    .addLast(new LengthFieldBasedFrameDecoder(HEADER_LEN + PAYLOAD_MAX, 0, HEADER_LEN))
                    .addLast(new Replies());
        }
    }

    /** Sends each frame back. */
    private static final class Replies extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object frame) {
            context.write(frame, context.voidPromise());
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void channelWritabilityChanged(ChannelHandlerContext context) {
            context.channel().config().setAutoRead(context.channel().isWritable());
        }

        /** The client sends no more: close behind the last reply. */
        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) {
            if (event instanceof ChannelInputShutdownEvent) {
                context.writeAndFlush(Unpooled.EMPTY_BUFFER).addListener(ChannelFutureListener.CLOSE);
            }
        }

        /** Too long a frame, or a broken connection; the client is told by its end. */
        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            context.close();
        }
    }
}
