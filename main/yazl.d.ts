declare module 'yazl' {
  export class ZipFile {
    readonly outputStream: NodeJS.ReadableStream
    addBuffer(bytes: Buffer, name: string): void
    end(): void
  }
}
