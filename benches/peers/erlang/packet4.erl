%% Erlang's gen_tcp with {packet, 4}: the runtime cuts the frames.
%%
%% The form of the manual: a process a connection, a message a frame, a send a
%% reply. {active, N} leaves the socket in the poll set, which a recv for each
%% frame would not, and bounds what can wait: a process whose client does not
%% read stands in gen_tcp:send, and at most N frames wait for it.
%% {exit_on_close, false} lets a client that has ended its own sending have all
%% its replies.
-module(packet4).
-export([main/1]).

-define(PAYLOAD_MAX, 64 * 1024 * 1024).
-define(BACKLOG, 4096).
-define(FRAMES, 100).

main([Port]) ->
    %% Loaded now: without a descriptor to spare it could not be when it is needed.
    {module, timer} = code:ensure_loaded(timer),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary,
        {ip, {127, 0, 0, 1}},
        {active, false},
        {backlog, ?BACKLOG},
        {exit_on_close, false},
        {nodelay, true},
        {packet, 4},
        {packet_size, ?PAYLOAD_MAX},
        {reuseaddr, true}
    ]),
    {ok, Bound} = inet:port(Listener),
    io:format("listening on 127.0.0.1:~b~n", [Bound]),
    accept(Listener).

accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            Client = spawn(fun() -> receive ready -> activate(Socket) end end),
            %% The socket ends with the process that owns it.
            _ = gen_tcp:controlling_process(Socket, Client),
            Client ! ready;
        {error, _} ->
            %% Most likely too many descriptors: some client will end.
            timer:sleep(1)
    end,
    accept(Listener).

activate(Socket) ->
    _ = inet:setopts(Socket, [{active, ?FRAMES}]),
    echo(Socket).

echo(Socket) ->
    receive
        {tcp, Socket, Payload} ->
            case gen_tcp:send(Socket, Payload) of
                ok -> echo(Socket);
                {error, _} -> gen_tcp:close(Socket)
            end;
        {tcp_passive, Socket} ->
            activate(Socket);
        {tcp_closed, Socket} ->
            gen_tcp:close(Socket);
        {tcp_error, Socket, _} ->
            gen_tcp:close(Socket)
    end.
