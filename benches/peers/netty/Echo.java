import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
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
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.handler.codec.TooLongFrameException;
import java.net.InetSocketAddress;
import java.util.List;

/**
 * Netty by hand: one event loop, frames found by a decoder of our own.
 *
 * <p>LengthFieldBasedFrameDecoder would make each frame a message with its own way through the
 * pipeline and its own buffer to write. Here all the whole frames that a read brought are one slice
 * of what was read, header included, and so one write, flushed once for each read; and a client
 * whose replies wait over the mark is not read until they are gone. The transport is the kernel's
 * epoll where Netty's native library can be loaded, and NIO otherwise.
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
            channel.pipeline().addLast(new WholeFrames()).addLast(new Replies());
        }
    }

    /** Cuts off all the whole frames that lie there, as one slice. */
    private static final class WholeFrames extends ByteToMessageDecoder {
        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) {
            int end = in.readerIndex();
            while (in.writerIndex() - end >= HEADER_LEN) {
                long payloadLen = in.getUnsignedInt(end);
                if (payloadLen > PAYLOAD_MAX) {
                    throw new TooLongFrameException("a payload of " + payloadLen + " bytes");
                }
                if (in.writerIndex() - end - HEADER_LEN < payloadLen) {
                    break;
                }
                end += HEADER_LEN + (int) payloadLen;
            }
            if (end > in.readerIndex()) {
                out.add(in.readRetainedSlice(end - in.readerIndex()));
            }
        }
    }

    /** Sends back what comes. */
    private static final class Replies extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object frames) {
            context.write(frames, context.voidPromise());
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
