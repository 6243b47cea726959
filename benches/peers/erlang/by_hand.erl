%% Erlang's gen_tcp by hand: a process a connection, sockets in raw mode.
%%
%% {packet, 4} would cut the frames, and then each would be a message to the
%% process and a system call of its own. Here all the whole frames that a read
%% brought go back in one send, as the part of the binary that they are; a
%% large frame is kept as the pieces that came, and never joined. {active, N}
%% leaves the socket in the poll set, which a recv for each read would not, and
%% bounds what can wait: a process whose client does not read stands in
%% gen_tcp:send, and at most N reads wait for it. {exit_on_close, false} lets a
%% client that has ended its own sending have all its replies.
-module(by_hand).
-export([main/1]).

-define(PAYLOAD_MAX, 64 * 1024 * 1024).
-define(BACKLOG, 4096).
-define(READ, 64 * 1024).
-define(READS, 100).

main([Port]) ->
    %% Loaded now: without a descriptor to spare it could not be when it is needed.
    {module, timer} = code:ensure_loaded(timer),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary,
        {ip, {127, 0, 0, 1}},
        {active, false},
        {backlog, ?BACKLOG},
        {buffer, ?READ},
        {exit_on_close, false},
        {nodelay, true},
        {packet, raw},
        {reuseaddr, true}
    ]),
    {ok, Bound} = inet:port(Listener),
    io:format("listening on 127.0.0.1:~b~n", [Bound]),
    accept(Listener).

accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            Client = spawn(fun() -> receive ready -> start(Socket) end end),
            %% The socket ends with the process that owns it.
            _ = gen_tcp:controlling_process(Socket, Client),
            Client ! ready;
        {error, _} ->
            %% Most likely too many descriptors: some client will end.
            timer:sleep(1)
    end,
    accept(Listener).

start(Socket) ->
    _ = inet:setopts(Socket, [{active, ?READS}]),
    echo(Socket, nothing).

%% What is kept of a frame is `nothing`, {header, Bytes} while even its length
%% is not known, or {Missing, Pieces}, the last piece first.
echo(Socket, Kept) ->
    receive
        {tcp, Socket, Bytes} ->
            received(Socket, Kept, Bytes);
        {tcp_passive, Socket} ->
            _ = inet:setopts(Socket, [{active, ?READS}]),
            echo(Socket, Kept);
        {tcp_closed, Socket} ->
            gen_tcp:close(Socket);
        {tcp_error, Socket, _} ->
            gen_tcp:close(Socket)
    end.

received(Socket, nothing, Bytes) ->
    reply(Socket, [], Bytes);
received(Socket, {header, Begin}, Bytes) ->
    reply(Socket, [], <<Begin/binary, Bytes/binary>>);
received(Socket, {Missing, Pieces}, Bytes) when byte_size(Bytes) < Missing ->
    echo(Socket, {Missing - byte_size(Bytes), [Bytes | Pieces]});
received(Socket, {Missing, Pieces}, Bytes) ->
    {End, Rest} = split_binary(Bytes, Missing),
    reply(Socket, lists:reverse(Pieces, [End]), Rest).

%% Sends the frame before these bytes, if any, and all the whole ones in them.
reply(Socket, Before, Bytes) ->
    {Whole, Rest} = split_binary(Bytes, whole_frames(Bytes, 0)),
    case send(Socket, Before, Whole) of
        ok -> keep(Socket, Rest);
        {error, _} -> gen_tcp:close(Socket)
    end.

send(_, [], <<>>) -> ok;
send(Socket, [], Whole) -> gen_tcp:send(Socket, Whole);
send(Socket, Before, Whole) -> gen_tcp:send(Socket, [Before, Whole]).

keep(Socket, <<>>) ->
    echo(Socket, nothing);
keep(Socket, <<PayloadLen:32, _/binary>>) when PayloadLen > ?PAYLOAD_MAX ->
    gen_tcp:close(Socket);
keep(Socket, <<PayloadLen:32, Begin/binary>> = Bytes) ->
    echo(Socket, {PayloadLen - byte_size(Begin), [Bytes]});
keep(Socket, Bytes) ->
    echo(Socket, {header, Bytes}).

%% How many of these bytes, from `End`, are whole frames.
whole_frames(Bytes, End) ->
    case Bytes of
        <<_:End/binary, Len:32, _:Len/binary, _/binary>> when Len =< ?PAYLOAD_MAX ->
            whole_frames(Bytes, End + 4 + Len);
        _ ->
            End
    end.
