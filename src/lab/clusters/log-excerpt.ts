/** The part of a daemon's log that shows why it does not work. */

const LINES = 8;
/** A crash of Node.js quotes the line of the source, which in a bundle is all of it. */
const LINE_LENGTH = 400;
const STACK_FRAME = /^ +at /;
/** A line in klog's form (src/base/klog.ts) that says an operator must act. */
const KLOG_ERROR = /^[EF]\d{4} /;
const KLOG_HEADER = /^[EF]\d{4} [^\]]*\] /;

/** Whether flanneld has met something that it cannot get over by itself. */
export const hasError = (log: string): boolean => log.split("\n").some((line) => KLOG_ERROR.test(line));

/** The errors that flanneld logged, without their headers; of other logs the first line and the last ones. */
export function excerptOf(log: string): string[] {
  const lines = log
    .split("\n")
    .filter((line) => line !== "" && !STACK_FRAME.test(line))
    .map((line) => (line.length > LINE_LENGTH ? `${line.slice(0, LINE_LENGTH)}…` : line));
  const errors = lines.filter((line) => KLOG_ERROR.test(line)).map((line) => line.replace(KLOG_HEADER, ""));
  if (errors.length > 0) return [...new Set(errors)].slice(-LINES);
  return lines.length <= LINES ? lines : [lines[0]!, "…", ...lines.slice(2 - LINES)];
}
