%% Erlang: a process for each agent. SHAPE AGENTS COUNT -> one number, as the package says.
-module(erlang_processes).
-export([main/1]).

main([Shape, Agents, Count]) ->
    Figure = shape(Shape, list_to_integer(Agents), list_to_integer(Count)),
    io:format("~p~n", [Figure]),
    halt(0).

shape("storm", Agents, Count) ->
    Done = self(),
    Counter = atomics:new(1, []),
    Pids = list_to_tuple([spawn(fun() -> start_forward(Counter, Count, Done) end)
                          || _ <- lists:seq(1, Agents)]),
    [Pid ! {pids, Pids} || Pid <- tuple_to_list(Pids)],
    Token = <<0:512>>,
    Start = erlang:monotonic_time(nanosecond),
    [element(I, Pids) ! {token, Token} || I <- lists:seq(1, min(Agents, 10000))],
    receive done -> ok end,
    Count / ((erlang:monotonic_time(nanosecond) - Start) / 1.0e9);
shape("pingpong", _, Count) ->
    Server = spawn(fun serve/0),
    Taken = lists:sort([once(Server) || _ <- lists:seq(1, Count)]),
    lists:nth(Count div 2 + 1, Taken) / 1000;
shape("idle", Agents, _) ->
    Before = erlang:memory(total),
    Pids = [spawn(fun() -> receive stop -> ok end end) || _ <- lists:seq(1, Agents)],
    Used = erlang:memory(total) - Before,
    [Pid ! stop || Pid <- Pids],
    Used / Agents;
shape("slow", Agents, Count) ->
    Done = self(),
    Counter = atomics:new(1, []),
    Wanted = Count - ((Count + Agents - 1) div Agents),
    Slow = spawn(fun() -> receive never -> ok end end),
    Pids = list_to_tuple([Slow | [spawn(fun() -> count(Counter, Wanted, Done) end)
                                  || _ <- lists:seq(2, Agents)]]),
    Token = <<0:512>>,
    Start = erlang:monotonic_time(nanosecond),
    [element(I rem Agents + 1, Pids) ! {token, Token} || I <- lists:seq(0, Count - 1)],
    receive done -> ok end,
    Wanted / ((erlang:monotonic_time(nanosecond) - Start) / 1.0e9).

start_forward(Counter, Count, Done) ->
    receive {pids, Pids} -> forward(Pids, tuple_size(Pids), Counter, Count, Done) end.

forward(Pids, Size, Counter, Count, Done) ->
    receive {token, Token} ->
        case atomics:add_get(Counter, 1, 1) of
            Count -> Done ! done;
            Before when Before < Count -> element(rand:uniform(Size), Pids) ! {token, Token};
            _ -> ok
        end,
        forward(Pids, Size, Counter, Count, Done)
    end.

count(Counter, Wanted, Done) ->
    receive {token, _} ->
        case atomics:add_get(Counter, 1, 1) of
            Wanted -> Done ! done;
            _ -> ok
        end,
        count(Counter, Wanted, Done)
    end.

serve() ->
    receive {From, Token} -> From ! Token, serve() end.

once(Server) ->
    Start = erlang:monotonic_time(nanosecond),
    Server ! {self(), <<0:512>>},
    receive _ -> erlang:monotonic_time(nanosecond) - Start end.
