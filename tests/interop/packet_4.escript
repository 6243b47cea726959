#!/usr/bin/env escript
%% Speaks frames by Erlang's own {packet, 4}, and checks every byte that comes back.
%% Usage: packet_4.escript HOST PORT. Prints `ok` and the number of frames; anything else is a failure.

-define(TIMEOUT_MILLIS, 30000).
-define(CLIENTS, 10).

main([Host, Port]) ->
    Lens = [0, 1, 4, 255, 256, 65535, 65536, 69628, 69629, 200000, 1000000],
    Payloads = [rand:bytes(Len) || Len <- Lens],
    Small = [rand:bytes(Len rem 300) || Len <- lists:seq(1, 2000)],
    Self = self(),
    Client = fun() ->
        Count = one_at_a_time(Host, Port, Payloads) + pipelined(Host, Port, Payloads) + pipelined(Host, Port, Small),
        Self ! {done, Count}
    end,
    [spawn_link(Client) || _ <- lists:seq(1, ?CLIENTS)],
    Counts = [receive {done, Count} -> Count end || _ <- lists:seq(1, ?CLIENTS)],
    io:format("ok ~p~n", [lists:sum(Counts)]).

connect(Host, Port) ->
    Options = [binary, {packet, 4}, {active, false}, {nodelay, true}, {exit_on_close, false}],
    {ok, Socket} = gen_tcp:connect(Host, list_to_integer(Port), Options, ?TIMEOUT_MILLIS),
    Socket.

one_at_a_time(Host, Port, Payloads) ->
    Socket = connect(Host, Port),
    lists:foreach(
        fun(Payload) ->
            ok = gen_tcp:send(Socket, Payload),
            {ok, Payload} = gen_tcp:recv(Socket, 0, ?TIMEOUT_MILLIS)
        end,
        Payloads
    ),
    ok = gen_tcp:close(Socket),
    length(Payloads).

%% All frames and then FIN from a process of their own, while this one reads the replies and then the server's FIN.
pipelined(Host, Port, Payloads) ->
    Socket = connect(Host, Port),
    spawn_link(fun() ->
        [ok = gen_tcp:send(Socket, Payload) || Payload <- Payloads],
        ok = gen_tcp:shutdown(Socket, write)
    end),
    [{ok, Payload} = gen_tcp:recv(Socket, 0, ?TIMEOUT_MILLIS) || Payload <- Payloads],
    {error, closed} = gen_tcp:recv(Socket, 0, ?TIMEOUT_MILLIS),
    ok = gen_tcp:close(Socket),
    length(Payloads).

