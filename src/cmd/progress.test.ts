import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Progress } from "./progress.ts";

function bed(isTTY: boolean | undefined) {
  const written: string[] = [];
  const textOf = (index: number): string => written[index] ?? "";
  const stream = {
    ...(isTTY !== undefined && { isTTY }),
    columns: 30,
    write: (text: string) => void written.push(text),
  };
  return { progress: new Progress(stream), written, textOf };
}

test("nothing in the first second; then one line, redrawn, and removed before other output and at the end", () => {
  mock.timers.enable({ apis: ["setInterval"] });
  try {
    const { progress, written, textOf } = bed(true);
    progress.show("Starting etcd");
    mock.timers.tick(999);
    assert.deepEqual(written, []);
    mock.timers.tick(1);
    assert.match(written.join(""), /^.{3,4}Starting etcd \(\d+ s\)$/s);
    progress.show("Waiting for flanneld on h1 (1 of 3)");
    assert.ok(textOf(1).startsWith("\r\u001B[KWaiting for flanneld on h1 (1"), textOf(1));
    assert.equal(textOf(1).length, 4 + 29, "one line of the terminal");
    progress.clear();
    assert.equal(textOf(2), "\r\u001B[K");
    progress.clear();
    assert.equal(written.length, 3, "it is removed once");
    mock.timers.tick(1_000);
    assert.match(textOf(3), /Waiting/);
    progress.show(undefined);
    assert.equal(textOf(4), "\r\u001B[K");
    mock.timers.tick(5_000);
    assert.equal(written.length, 5);
  } finally {
    mock.timers.reset();
  }
});

test("without a terminal nothing is written", () => {
  mock.timers.enable({ apis: ["setInterval"] });
  try {
    for (const isTTY of [false, undefined]) {
      const { progress, written } = bed(isTTY);
      progress.show("Starting etcd");
      mock.timers.tick(10_000);
      progress.show(undefined);
      assert.deepEqual(written, []);
    }
  } finally {
    mock.timers.reset();
  }
});
