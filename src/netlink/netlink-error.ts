/** What can go wrong with netlink: the kernel refuses a request, or its bytes make no sense. */

import { FlannelError } from "../base/error.ts";

/** The kernel refused a request, or its answer was lost. */
export class NetlinkError extends FlannelError {
  /** Positive errno number; 0 if it was not the kernel that refused. */
  readonly errno: number;
  /** What was asked, e.g. `RTM_NEWROUTE {family: 2, dst: 10.5.2.0}`. */
  readonly request: string;
  /** The kernel's own words (NLMSGERR_ATTR_MSG), if it said any. */
  readonly kernelMessage: string | undefined;
  /** Where in the request's bytes the kernel saw the mistake (NLMSGERR_ATTR_OFFS), if it said so. */
  readonly offsetInRequest: number | undefined;

  constructor(
    code: string,
    request: string,
    details: { errno?: number; kernelMessage?: string | undefined; offset?: number | undefined } = {},
  ) {
    super(
      code,
      `${request}: ${details.kernelMessage === undefined ? code : `${details.kernelMessage} (${code})`}`,
    );
    this.errno = details.errno ?? 0;
    this.request = request;
    this.kernelMessage = details.kernelMessage;
    this.offsetInRequest = details.offset;
  }
}

/** Bytes that are no well-formed netlink message. */
export class NetlinkDecodeError extends FlannelError {
  /** Where, counted from the start of the bytes given to the decoder. */
  readonly offset: number;
  constructor(what: string, offset: number) {
    super("EBADMSG", `netlink: ${what} at byte ${offset}`);
    this.offset = offset;
  }
}
