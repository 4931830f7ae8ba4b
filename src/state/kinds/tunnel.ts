/** The udp backend's tunnel, which this process carries itself (src/datapath): packets of a TUN device go to peers in UDP. */

import type { ObjectKind } from "../object-kind.ts";

/** The tunnel behind one TUN device. */
export interface UdpTunnel {
  readonly kind: "tunnel";
  /** The TUN device. */
  readonly device: string;
  /** Address and UDP port that it sends from and receives at. */
  readonly local: string;
  readonly port: number;
  /**
   * This host's subnet, "10.5.1.0/24": what peers may send to. Its base is the address of the tunnel's own messages.
   * Undefined = subnet or peers are not known yet: packets wait in device and socket.
   */
  readonly subnet: string | undefined;
  /** Whether packets must come from the peer whose subnet holds their source. */
  readonly strictSource: boolean;
}

/** Key: device. The tunnel provider holds it. */
export const tunnel: ObjectKind<UdpTunnel> = {
  kind: "tunnel",
  key: ({ device }) => `tunnel ${device}`,
  device: ({ device }) => device,
  describe: ({ device, subnet, local, port, strictSource }) =>
    `tunnel ${device} for ${subnet ?? "nothing yet"} on UDP ${local}:${port}${strictSource ? "" : ", any source"}`,
};
