import threading

from utilities.signals import WORKERS_CHANGED, Signals, jobs_waiting


class Listener:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


def test_every_listener_of_a_topic_is_called_once_for_each_signal() -> None:
    signals, one, two = Signals(), Listener(), Listener()
    signals.subscribe("topic", one)
    signals.subscribe("topic", two)
    signals.publish("topic")
    signals.publish("topic")
    assert (one.calls, two.calls) == (2, 2)


def test_listeners_of_other_topics_are_not_called() -> None:
    signals, listener = Signals(), Listener()
    signals.subscribe(jobs_waiting("a"), listener)
    signals.publish(jobs_waiting("b"))
    signals.publish(WORKERS_CHANGED)
    assert listener.calls == 0
    signals.publish(jobs_waiting("a"))
    assert listener.calls == 1


def test_the_topics_of_clients_cannot_be_taken_for_others() -> None:
    names = {jobs_waiting(""), jobs_waiting("workers"), jobs_waiting("a")}
    assert len(names) == 3
    assert WORKERS_CHANGED not in names


def test_a_signal_that_nobody_waits_for_is_gone() -> None:
    signals, listener = Signals(), Listener()
    signals.publish("topic")
    signals.subscribe("topic", listener)
    assert listener.calls == 0


def test_who_has_left_is_called_no_more() -> None:
    signals, leaving, staying = Signals(), Listener(), Listener()
    signals.subscribe("topic", leaving)
    signals.subscribe("topic", staying)
    signals.unsubscribe("topic", leaving)
    signals.publish("topic")
    assert (leaving.calls, staying.calls) == (0, 1)


def test_leaving_without_having_come_is_harmless() -> None:
    signals, listener = Signals(), Listener()
    signals.unsubscribe("topic", listener)
    signals.subscribe("topic", listener)
    signals.unsubscribe("topic", Listener())
    signals.unsubscribe("other", listener)
    signals.publish("topic")
    assert listener.calls == 1


def test_who_came_twice_leaves_once_at_a_time() -> None:
    signals, listener = Signals(), Listener()
    signals.subscribe("topic", listener)
    signals.subscribe("topic", listener)
    signals.unsubscribe("topic", listener)
    signals.publish("topic")
    assert listener.calls == 1
    signals.unsubscribe("topic", listener)
    signals.publish("topic")
    assert listener.calls == 1


def test_topics_without_listeners_are_forgotten() -> None:
    signals, listener = Signals(), Listener()
    for number in range(3):
        topic = jobs_waiting(str(number))
        signals.subscribe(topic, listener)
        signals.unsubscribe(topic, listener)
        signals.unsubscribe(topic, listener)
        signals.publish(topic)
    assert not signals._listeners


def test_a_listener_may_come_and_go_while_it_is_called() -> None:
    signals, late = Signals(), Listener()
    calls = []

    def once() -> None:
        calls.append("once")
        signals.unsubscribe("topic", once)
        signals.subscribe("topic", late)

    signals.subscribe("topic", once)
    signals.publish("topic")
    assert (calls, late.calls) == (["once"], 0)
    signals.publish("topic")
    assert (calls, late.calls) == (["once"], 1)


def test_a_listener_that_leaves_does_not_hide_the_next() -> None:
    signals, following = Signals(), Listener()

    def leaving() -> None:
        signals.unsubscribe("topic", leaving)

    signals.subscribe("topic", leaving)
    signals.subscribe("topic", following)
    signals.publish("topic")
    assert following.calls == 1


def test_listeners_are_called_on_the_publishers_thread() -> None:
    signals = Signals()
    threads: list[threading.Thread] = []
    signals.subscribe(
        "topic", lambda: threads.append(threading.current_thread())
    )
    publisher = threading.Thread(target=signals.publish, args=("topic",))
    publisher.start()
    publisher.join(20)
    assert threads == [publisher]


def test_many_threads_may_come_publish_and_go_at_once() -> None:
    signals, always = Signals(), Listener()
    lock = threading.Lock()
    failures: list[Exception] = []
    together = threading.Barrier(8, timeout=20)

    def counted() -> None:
        with lock:
            always.calls += 1

    def work() -> None:
        try:
            together.wait()
            for _ in range(200):
                passing = Listener()
                signals.subscribe("topic", passing)
                signals.publish("topic")
                signals.unsubscribe("topic", passing)
                # It was there when this very thread published.
                assert passing.calls >= 1
        except Exception as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    signals.subscribe("topic", counted)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert always.calls == 8 * 200
    assert signals._listeners == {"topic": [counted]}
