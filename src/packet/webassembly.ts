/** The part of the WebAssembly JavaScript interface (W3C) that is used; the project's type libraries do not declare it. */

/** `WebAssembly.Memory`: linear memory in pages of 64 KiB. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
export const { Memory, Module, Instance } = (
  globalThis as unknown as {
    readonly WebAssembly: {
      /** In pages of 64 KB; never moved if it cannot grow. */
      readonly Memory: new (limits: {
        readonly initial: number;
        readonly maximum: number;
      }) => WasmMemory;
      readonly Module: new (bytes: Uint8Array) => object;
      readonly Instance: new (
        module: object,
        imports: Readonly<Record<string, Readonly<Record<string, WasmMemory>>>>,
      ) => { readonly exports: Readonly<Record<string, unknown>> };
    };
  }
).WebAssembly;
