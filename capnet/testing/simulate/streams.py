"""Rules: what drivers do with streams."""

from __future__ import annotations

from capnet.engine.inspect import stats
from capnet.errors import InvalidArgument, NotFound, ResourceExhausted

from .asking import Asking, Caps

__all__ = ["StreamRules"]


class StreamRules(Asking):
    """Both ends of streams."""

    def produce(self, index: int, count: int, caps: Caps, last: bool, arrives: bool) -> None:
        """Items while there is room, one of them with references of every kind, and perhaps the end."""
        producing = [(shadow, flow) for shadow in self.shadows.values() for flow in shadow.producing]
        if not producing:
            return
        shadow, flow = producing[index % len(producing)]
        for number in range(count):
            self.produce_one(shadow, flow, caps if number == index % 3 else ())
        if last:
            self.end(shadow, flow, None)
        self.catch_up(arrives)

    def produce_in_vain(self, name: str, index: int, caps: Caps, size: int) -> None:
        """An item that cannot be sent changes nothing (P-REF-1)."""
        shadow = self.shadows[name]
        if not shadow.producing:
            return
        out = shadow.producing[index % len(shadow.producing)].out
        assert out is not None
        if not out.room:
            return
        engine = shadow.side.engine
        references, _ = self.references(shadow, caps)
        before, credit = stats(engine), (out.items, out.bytes, len(out.batch))
        try:
            engine.streaming.send(out, {"refs": references, "bad": b"x" * size if size else "\ud800"}, references)
        except (InvalidArgument, ResourceExhausted):
            assert stats(engine) == before
            assert size or credit == (out.items, out.bytes, len(out.batch))
        else:
            raise AssertionError("that cannot be sent")

    def end_stream(self, name: str, index: int, failed: bool, again: bool) -> None:
        """A producer ends, cleanly or not; to say it twice does nothing."""
        shadow = self.shadows[name]
        if shadow.producing:
            flow = shadow.producing[index % len(shadow.producing)]
            self.end(shadow, flow, NotFound("as it happens", reason=f"ending {flow.number}") if failed else None)
            if again and flow.out is not None:
                shadow.side.engine.streaming.end(flow.out)

    def consume(self, index: int, batches: int, used: int, arrives: bool) -> None:
        """A reader takes what has come, and is done with some of it."""
        consuming = [(shadow, flow) for shadow in self.shadows.values() for flow in shadow.consuming]
        if consuming:
            shadow, flow = consuming[index % len(consuming)]
            for _ in range(batches):
                self.take_batch(shadow, flow)
            self.use(shadow, flow, used)
            self.catch_up(arrives)

    def stop_stream(self, name: str, index: int, caps: Caps, again: bool, item: str) -> None:
        """A reader wants no more, while an item travels or waits for it; to say it twice does nothing."""
        shadow = self.shadows[name]
        if shadow.consuming:
            flow = shadow.consuming[index % len(shadow.consuming)]
            assert flow.inn is not None
            producer = self.other(shadow)
            if item and flow in producer.producing:
                self.produce_one(producer, flow, caps)
                self.catch_up(item == "waits")
            for _ in range(1 + again):
                self.steps += 1
                shadow.side.engine.streaming.stop(flow.inn, "on purpose" if index % 2 else "")
            flow.stopped = True
            assert not self.take_batch(shadow, flow)
