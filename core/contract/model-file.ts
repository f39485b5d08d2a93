/** What loaders read. */
const MODEL = /\.(safetensors|sft|ckpt|pt2?|pth|bin|pkl|gguf|onnx)$/i
export const isModelFile = (name: string) => MODEL.test(name)
/** A name without the ending of a model. */
export const bareModelName = (name: string) => name.replace(MODEL, '')
/** By its name it may run programs when it is loaded. */
export const isPickleFile = (name: string) => /\.(ckpt|pt2?|pth|bin|pkl)$/i.test(name)
