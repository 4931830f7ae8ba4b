/**
 * Removes secrets from text that leaves the host: by their form (PEM blocks, tokens, passwords in URLs, keys of WireGuard and
 * IPsec as tools print them), by the name beside them, and by value where the value is known.
 */

/** Replaces a secret. */
const HIDDEN = "***";

const NAME =
  "(?:[\\w-]*(?:passw(?:or)?d|secret|token|psk|preshared[_ -]?key|private[_ -]?key|api[_-]?key|access[_-]?key|credential)[\\w-]*)";

const RULES: readonly (readonly [RegExp, string])[] = [
  [
    /-----BEGIN ([A-Z ]*PRIVATE KEY|OPENSSH[A-Z ]*)-----[\s\S]*?(?:-----END \1-----|$)/g,
    `(private key ${HIDDEN})`,
  ],
  // "PSK": "…", and the same inside of a JSON string. "" is none, and stays: it says that there is none.
  [new RegExp(`("${NAME}"\\s*:\\s*)"(?:[^"\\\\]|\\\\[\\s\\S])+"?`, "gi"), `$1"${HIDDEN}"`],
  [new RegExp(`(\\\\+"${NAME}\\\\+"\\s*:\\s*\\\\+")[^"]*"?`, "gi"), `$1${HIDDEN}\\"`],
  // --etcd-password=…, FLANNELD_ETCD_PASSWORD=…, psk: …, PrivateKey = …
  [new RegExp(`(\\b${NAME}\\s*[=:]\\s*)(?!\\s)("[^"\\n]*"|'[^'\\n]*'|[^\\s\\0,;]+)`, "gi"), `$1${HIDDEN}`],
  [/(--?[\w-]*password)([ \0])(?!-)[^\s\0]+/gi, `$1$2${HIDDEN}`],
  [/(:\/\/)[^\s/@"'\0]+@/g, `$1${HIDDEN}@`],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${HIDDEN}`],
  [/\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]+/g, HIDDEN],
  // keys of IPsec states: ip xfrm state
  [/\b0x[0-9a-f]{32,}\b/gi, HIDDEN],
  // client keys of a kubeconfig, which are base64 of PEM
  [/((?:client-key-data|token|password)["']?\s*:\s*)["']?[^\s"']+["']?/gi, `$1${HIDDEN}`],
];

/** Too short values would hide ordinary words. */
const LEAST_KNOWN_LENGTH = 4;

/** Text without secrets; `known` are values that are secret wherever they appear. */
export function redact(text: string, known: Iterable<string> = []): string {
  let result = text;
  const longestFirst = [...known].toSorted((a, b) => b.length - a.length);
  for (const secret of longestFirst) {
    if (secret.length < LEAST_KNOWN_LENGTH) continue;
    result = result.replaceAll(secret, HIDDEN);
    const escaped = JSON.stringify(secret).slice(1, -1);
    if (escaped !== secret) result = result.replaceAll(escaped, HIDDEN);
  }
  for (const [pattern, replacement] of RULES) result = result.replace(pattern, replacement);
  return result;
}
