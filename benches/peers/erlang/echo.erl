%% Erlang's gen_tcp: a process a connection, frames by {packet, 4}.
%%
%% The runtime's own framing, in C, is what every Erlang user takes. Passive:
%% a process that must ask for its next frame cannot be flooded, and one that
%% waits for its client to read asks for none. (With {active, N} frames of any
%% size would pile up N deep in the mailbox.) {exit_on_close, false} lets a
%% client that has ended its own sending have all its replies.
-module(echo).
-export([main/1]).

-define(PAYLOAD_MAX, 64 * 1024 * 1024).
-define(BACKLOG, 4096).

main([Port]) ->
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
            Client = spawn(fun() -> receive ready -> echo(Socket) end end),
            %% The socket ends with the process that owns it.
            ok = gen_tcp:controlling_process(Socket, Client),
            Client ! ready;
        {error, _} ->
            %% Most likely too many descriptors: some client will end.
            timer:sleep(1)
    end,
    accept(Listener).

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Frame} ->
            case gen_tcp:send(Socket, Frame) of
                ok -> echo(Socket);
                {error, _} -> gen_tcp:close(Socket)
            end;
        {error, _} ->
            gen_tcp:close(Socket)
    end.
