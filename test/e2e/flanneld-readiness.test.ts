/** Readiness of the real flanneld: READY=1 once, and /readyz that rises, falls when something breaks, and rises again. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { check, sys } from "../../src/linux/ffi.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { askHealth, type Flanneld, readSubnetFile, startFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const PORT = 18080;

test("W36 /readyz rises with the host's state, falls with it, and rises again", async (t) => {
  await using etcd = await startEtcd();
  const [host] = await makeHosts(t, etcd, 1);
  const received = listen(t, join(host!.directory, "notify"));
  const messages = () => received().filter((message) => message.includes("READY"));
  const statusOf = () => received().findLast((message) => message.startsWith("STATUS="));
  const flanneld = startFlanneld(t, host!, {
    args: [`--healthz-port=${PORT}`, "--healthz-ip=127.0.0.1"],
    env: { NOTIFY_SOCKET: join(host!.directory, "notify"), WATCHDOG_USEC: "300000" },
  });
  await answers(flanneld, host!, 503, /network config: there is no network config at etcd key/);
  assert.deepEqual(await askHealth(host!, PORT, "/healthz"), { status: 200, body: "flanneld is running" });
  assert.deepEqual(messages(), []);
  const says = (status: RegExp) => flanneld.until(() => status.test(statusOf() ?? ""), `${status}`, 20_000);
  await says(/^STATUS=Not ready: network config: there is no network config at etcd key .*\(and \d more\)$/);
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  await answers(flanneld, host!, 200, /^flanneld is ready$/);
  assert.deepEqual(messages(), ["READY=1"]);
  await says(/^STATUS=Ready: 10\.5\.\d+\.0\/24, 0 peers$/);
  const keepAlives = () => received().filter((message) => message === "WATCHDOG=1").length;
  const before = keepAlives();
  await flanneld.until(() => keepAlives() > before + 2, "keep-alives", 20_000);

  // A foreign device in the place of ours. flanneld would be faster than the two commands.
  process.kill(flanneld.pid, "SIGSTOP");
  host!.run("ip", "link", "del", "flannel.1");
  host!.run("ip", "link", "add", "flannel.1", "type", "bridge");
  process.kill(flanneld.pid, "SIGCONT");
  await answers(flanneld, host!, 503, /kernel: device flannel\.1 exists and is not flannel's/);
  await says(/^STATUS=Not ready: kernel: device flannel\.1 exists and is not flannel's/);
  host!.run("ip", "link", "del", "flannel.1");
  await answers(flanneld, host!, 200, /ready/);

  // The lease lost, and no subnet to be had.
  await takeAllSubnets(etcd);
  await answers(flanneld, host!, 503, /lease: (?:lease lost|no lease)/);
  await etcd.ctl("del", "--prefix", `${PREFIX}/subnets/`);
  await answers(flanneld, host!, 200, /ready/);

  // A second host with the same public IP takes the lease over.
  const own = (await etcd.ctl("get", "--prefix", "--keys-only", `${PREFIX}/subnets/`)).trim();
  await etcd.ctl(
    "put",
    own,
    `{"PublicIP":"${host!.address}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:99"}}`,
  );
  await answers(flanneld, host!, 503, /lease: another host uses this host's public IP/);
  await etcd.ctl("del", own);
  await answers(flanneld, host!, 200, /ready/);

  // An unavailable etcd is no reason: packets flow.
  await host!.line.cut();
  await flanneld.logged(/Watch on .* lost/);
  assert.equal((await askHealth(host!, PORT, "/readyz"))?.status, 200);
  assert.deepEqual(messages(), ["READY=1"], "systemd was notified once");
});

test("W36 readiness does not show before there is any", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  await host!.line.cut();
  const flanneld = startFlanneld(t, host!, { args: [`--healthz-port=${PORT}`] });
  await answers(flanneld, host!, 503, /not ready yet/);
  await host!.line.restore();
  await answers(flanneld, host!, 200, /ready/);
  // At the first 200 everything is there.
  const { subnet } = readSubnetFile(host!);
  assert.match(
    host!.run("ip", "address", "show", "flannel.1"),
    new RegExp(subnet.replace(/\.1\/24$/, ".0/32")),
  );
  assert.match(host!.run("iptables", "-S", "FORWARD"), /FLANNEL-FWD/);
});

/** Waits for an answer of /readyz. */
async function answers(flanneld: Flanneld, host: TestHost, status: number, body: RegExp): Promise<void> {
  let last: Awaited<ReturnType<typeof askHealth>>;
  await flanneld.until(
    async () => {
      last = await askHealth(host, PORT, "/readyz");
      return last?.status === status && body.test(last.body);
    },
    `/readyz to answer ${status} ${body}; its last answer was ${JSON.stringify(last)}`,
  );
}

/** Other hosts' leases on everything, this host's own included. */
async function takeAllSubnets(etcd: EtcdServer): Promise<void> {
  const value = '{"PublicIP":"192.168.7.99","PublicIPv6":null}';
  const own = (await etcd.ctl("get", "--prefix", "--keys-only", `${PREFIX}/subnets/`)).trim();
  for (const half of ["10.5.0.0-17", "10.5.128.0-17"])
    await etcd.ctl("put", `${PREFIX}/subnets/${half}`, value);
  await etcd.ctl("put", own, value);
}

/** A service manager's socket (sd_notify(3)); the function returned gives all messages. */
function listen(t: TestContext, path: string): () => readonly string[] {
  const address = Buffer.concat([Buffer.from([1, 0]), Buffer.from(`${path}\0`)]); // AF_UNIX
  const fd = check(sys.socket(1, 2, 0), "socket"); // SOCK_DGRAM
  check(sys.bind(fd, address, address.length), "bind");
  const messages: string[] = [];
  const buffer = new Uint8Array(1000);
  const read = (): readonly string[] => {
    for (let length = 0; length >= 0; ) {
      length = sys.recv(fd, buffer, buffer.length, 0x40); // MSG_DONTWAIT
      if (length >= 0) messages.push(Buffer.from(buffer.subarray(0, length)).toString());
    }
    return messages;
  };
  // The kernel queues ten messages, and a sender that may wait waits for the eleventh.
  const reading = setInterval(read, 20);
  t.after(() => {
    clearInterval(reading);
    sys.close(fd);
  });
  return read;
}
