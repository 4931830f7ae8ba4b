/**
 * The names of flannel's annotations on nodes. The prefix separates several flannel networks in one cluster, by Go flannel's
 * rule: it may contain one slash; without one a slash is added, with one it ends in a slash or gets a hyphen.
 */

import { ConfigError } from "../../base/error.ts";
import { quote } from "../../config/json-members.ts";

/** Each annotation by its name behind the prefix. */
const SUFFIXES = {
  managed: "kube-subnet-manager",
  backendType: "backend-type",
  backendData: "backend-data",
  backendV6Data: "backend-v6-data",
  publicIp: "public-ip",
  publicIpv6: "public-ipv6",
  /** Written by operators: like the flags --public-ip and --public-ipv6. */
  nodePublicIp: "node-public-ip",
  nodePublicIpv6: "node-public-ipv6",
  /** Written by operators: published instead of the host's own addresses. */
  publishedIp: "public-ip-overwrite",
  publishedIpv6: "public-ipv6-overwrite",
} as const;

/** The members of {@link AnnotationNames}. */
export type Annotation = keyof typeof SUFFIXES;

/** All of them, in the order of the table: the order of {@link AnnotationNames} too. */
export const ANNOTATIONS = Object.keys(SUFFIXES) as readonly Annotation[];

/** Full names, in the order in which they are listed in messages. */
export type AnnotationNames = Readonly<Record<Annotation, string>>;

/** A DNS name, a slash, and perhaps the beginning of a name that ends in a hyphen. */
const PREFIX = /^(?:[a-z0-9_-]+\.)+[a-z0-9_-]+\/(?:[a-z0-9_-]+-)?$/;

/** Throws ConfigError. */
export function annotationNames(prefix: string): AnnotationNames {
  const slashed = prefix.includes("/") ? prefix : `${prefix}/`;
  const whole = /[/-]$/.test(slashed) ? slashed : `${slashed}-`;
  if (!PREFIX.test(whole)) {
    throw new ConfigError(
      `--kube-annotation-prefix: ${quote(prefix)} is not a prefix of annotations: write a DNS name like ` +
        `"flannel.alpha.coreos.com", or one with a name behind one slash like "flannel.alpha.coreos.com/blue"`,
    );
  }
  const names = ANNOTATIONS.map((annotation) => [annotation, whole + SUFFIXES[annotation]]);
  return Object.fromEntries(names) as AnnotationNames;
}
