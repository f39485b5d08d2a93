/** What programs write into their pictures (written for these tests, in each program's manner), and the prompt it is. */
export interface Picture {
  name: string
  texts: Record<string, string>
  /** Each node in a line: its id, class, and inputs, links as NODE.SLOT. */
  nodes: string
  told: string[]
}

const metadata = (value: unknown) => JSON.stringify(value)

export const pictures: Picture[] = [
  {
    name: 'AUTOMATIC1111 1.6, sampler and schedule in one name',
    texts: {
      parameters: `a cat
Negative prompt: blurry
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Version: v1.6.0`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="v1-5-pruned-emaonly.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="blurry" clip=1.1
4 EmptyLatentImage width=512 height=768 batch_size=1
5 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="dpmpp_2m" scheduler="karras" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'AUTOMATIC1111 1.9, schedule apart',
    texts: {
      parameters: `a cat
Negative prompt: blurry
Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Exponential, CFG scale: 7, Seed: 18446744073709551615, Size: 512x512, Model: dreamshaper_8.safetensors, RNG: CPU, Version: v1.9.4`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="dreamshaper_8.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="blurry" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=18446744073709551615 steps=20 cfg=7 sampler_name="dpmpp_2m_sde" scheduler="exponential" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'an automatic schedule, which the sampler chooses',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: DPM++ 3M SDE, Schedule type: Automatic, CFG scale: 7, Seed: 5, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=5 steps=20 cfg=7 sampler_name="dpmpp_3m_sde" scheduler="exponential" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'no negative prompt and no model',
    texts: {
      parameters: `just a cat
Steps: 30, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 640x448`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name=""
2 CLIPTextEncode text="just a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=640 height=448 batch_size=1
5 KSampler model=1.0 seed=42 steps=30 cfg=7.5 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['bad-value foreign-no-model', 'warning foreign-noise'],
  },
  {
    name: 'words over several lines, some that look like settings',
    texts: {
      UserComment: `Steps: to heaven
a stair, Size: huge
Negative prompt: old
worn
Steps: 12, Sampler: Heun, CFG scale: 3, Seed: 0, Size: 512x512, Model: a.ckpt, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.ckpt"
2 CLIPTextEncode text="Steps: to heaven\\na stair, Size: huge" clip=1.1
3 CLIPTextEncode text="old\\nworn" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=0 steps=12 cfg=3 sampler_name="heun" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'weights, brackets and escapes',
    texts: {
      parameters: `((masterpiece)), (best:1.4), [dull], (a (very:1.2) b:1.1), \\(title\\), \\[x\\]
Negative prompt: (bad
Steps: 20, Sampler: LMS, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="(masterpiece:1.21), (best:1.4), (dull:0.909), (a :1.1)(very:1.32)( b:1.1), \\\\(title\\\\), [x]" clip=1.1
3 CLIPTextEncode text="(bad:1.1)" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="lms" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-weights'],
  },
  {
    name: 'LoRA, LyCORIS and hypernetwork tags',
    texts: {
      parameters: `portrait <lora:add_detail:0.6>, <lora:style:0.5:0.8> ink <lyco:line-art:te=0.2:unet=1> <hypernet:moody:0.4> <unknown:x:1>
Steps: 20, Sampler: UniPC, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU, Lora hashes: "add_detail: 7c6bad76eb54, style: 1234"`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="add_detail.safetensors" strength_model=0.6 strength_clip=0.6
3 LoraLoader model=2.0 clip=2.1 lora_name="style.safetensors" strength_model=0.8 strength_clip=0.5
4 LoraLoader model=3.0 clip=3.1 lora_name="line-art.safetensors" strength_model=1 strength_clip=0.2
5 HypernetworkLoader model=4.0 hypernetwork_name="moody.pt" strength=0.4
6 CLIPTextEncode text="portrait , ink" clip=4.1
7 CLIPTextEncode text="" clip=4.1
8 EmptyLatentImage width=512 height=512 batch_size=1
9 KSampler model=5.0 seed=1 steps=20 cfg=7 sampler_name="uni_pc" scheduler="normal" positive=6.0 negative=7.0 latent_image=8.0 denoise=1
10 VAEDecode samples=9.0 vae=1.2
11 SaveImage images=10.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'loss foreign-tags'],
  },
  {
    name: 'embeddings by their hashes',
    texts: {
      parameters: `sks girl, my-face
Negative prompt: EasyNegative, (badhand:1.2)
Steps: 20, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU, TI hashes: "EasyNegative: c74b4e810b03, my-face: 12, badhand: 33"`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="sks girl, embedding:my-face" clip=1.1
3 CLIPTextEncode text="embedding:EasyNegative, (embedding:badhand:1.2)" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="ddim" scheduler="ddim_uniform" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-weights'],
  },
  {
    name: 'BREAK',
    texts: {
      parameters: `a red hat BREAK blue eyes BREAK a green coat
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a red hat" clip=1.1
3 CLIPTextEncode text="blue eyes" clip=1.1
4 ConditioningConcat conditioning_to=2.0 conditioning_from=3.0
5 CLIPTextEncode text="a green coat" clip=1.1
6 ConditioningConcat conditioning_to=4.0 conditioning_from=5.0
7 CLIPTextEncode text="" clip=1.1
8 EmptyLatentImage width=512 height=512 batch_size=1
9 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=6.0 negative=7.0 latent_image=8.0 denoise=1
10 VAEDecode samples=9.0 vae=1.2
11 SaveImage images=10.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'AND with weights',
    texts: {
      parameters: `a cat :1.2 AND a dog AND rain :0.5
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 ConditioningSetAreaStrength conditioning=2.0 strength=1.2
4 CLIPTextEncode text="a dog" clip=1.1
5 ConditioningCombine conditioning_1=3.0 conditioning_2=4.0
6 CLIPTextEncode text="rain" clip=1.1
7 ConditioningSetAreaStrength conditioning=6.0 strength=0.5
8 ConditioningCombine conditioning_1=5.0 conditioning_2=7.0
9 CLIPTextEncode text="" clip=1.1
10 EmptyLatentImage width=512 height=512 batch_size=1
11 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=8.0 negative=9.0 latent_image=10.0 denoise=1
12 VAEDecode samples=11.0 vae=1.2
13 SaveImage images=12.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-combined'],
  },
  {
    name: 'AND with a part turned against, and one in the negative prompt',
    texts: {
      parameters: `a cat AND fog :-0.5 AND a hat :12
Negative prompt: this AND that
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="a hat" clip=1.1
4 ConditioningSetAreaStrength conditioning=3.0 strength=10
5 ConditioningCombine conditioning_1=2.0 conditioning_2=4.0
6 CLIPTextEncode text="this AND that" clip=1.1
7 EmptyLatentImage width=512 height=512 batch_size=1
8 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=5.0 negative=6.0 latent_image=7.0 denoise=1
9 VAEDecode samples=8.0 vae=1.2
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-combined', 'loss foreign-tags'],
  },
  {
    name: 'a hires fix of 2022, which told the last size',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 1024x1536, Model: a.safetensors, RNG: CPU, Denoising strength: 0.7, First pass size: 0x0`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=448 height=640 batch_size=1
5 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 LatentUpscale samples=5.0 upscale_method="bilinear" width=1024 height=1536 crop="center"
7 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=6.0 denoise=0.7
8 VAEDecode samples=7.0 vae=1.2
9 SaveImage images=8.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'words that switch and alternate',
    texts: {
      parameters: `a [cat:dog:0.5] in [the:10] [snow::5] [red|blue] light
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat in  snow red light" clip=1.1
3 ConditioningSetTimestepRange conditioning=2.0 start=0 end=0.25
4 CLIPTextEncode text="a cat in   red light" clip=1.1
5 ConditioningSetTimestepRange conditioning=4.0 start=0.25 end=0.5
6 ConditioningCombine conditioning_1=3.0 conditioning_2=5.0
7 CLIPTextEncode text="a dog in the  red light" clip=1.1
8 ConditioningSetTimestepRange conditioning=7.0 start=0.5 end=1
9 ConditioningCombine conditioning_1=6.0 conditioning_2=8.0
10 CLIPTextEncode text="" clip=1.1
11 EmptyLatentImage width=512 height=512 batch_size=1
12 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=9.0 negative=10.0 latent_image=11.0 denoise=1
13 VAEDecode samples=12.0 vae=1.2
14 SaveImage images=13.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-schedule', 'loss foreign-alternation'],
  },
  {
    name: 'hires fix in the latent',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: DPM++ SDE Karras, CFG scale: 7, Seed: 9, Size: 512x512, Model: a.safetensors, RNG: CPU, Denoising strength: 0.55, Hires upscale: 1.75, Hires upscaler: Latent (nearest-exact)`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="dpmpp_sde" scheduler="karras" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 LatentUpscale samples=5.0 upscale_method="nearest-exact" width=896 height=896 crop="disabled"
7 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="dpmpp_sde" scheduler="karras" positive=2.0 negative=3.0 latent_image=6.0 denoise=0.55
8 VAEDecode samples=7.0 vae=1.2
9 SaveImage images=8.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'hires fix by a model, with words, sampler and guidance of its own',
    texts: {
      parameters: `a cat
Negative prompt: blurry
Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 9, Size: 512x768, Model: a.safetensors, RNG: CPU, Denoising strength: 0.3, Hires prompt: "a cat, \\"sharp\\"", Hires negative prompt: soft, Hires CFG Scale: 5, Hires upscale: 2, Hires steps: 12, Hires upscaler: 4x-UltraSharp, Hires sampler: DPM++ 2M, Hires schedule type: Karras, Hires checkpoint: other_model [abcdef1234]`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="blurry" clip=1.1
4 EmptyLatentImage width=512 height=768 batch_size=1
5 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 CheckpointLoaderSimple ckpt_name="other_model.safetensors"
7 VAEDecode samples=5.0 vae=1.2
8 UpscaleModelLoader model_name="4x-UltraSharp.pth"
9 ImageUpscaleWithModel upscale_model=8.0 image=7.0
10 ImageScale image=9.0 upscale_method="lanczos" width=1024 height=1536 crop="disabled"
11 VAEEncode pixels=10.0 vae=6.2
12 CLIPTextEncode text="a cat, \\"sharp\\"" clip=6.1
13 CLIPTextEncode text="soft" clip=6.1
14 KSampler model=6.0 seed=9 steps=12 cfg=5 sampler_name="dpmpp_2m" scheduler="karras" positive=12.0 negative=13.0 latent_image=11.0 denoise=0.3
15 VAEDecode samples=14.0 vae=6.2
16 SaveImage images=15.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed'],
  },
  {
    name: 'hires fix to a size, with switching words',
    texts: {
      parameters: `a [cat:dog:0.5]
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 9, Size: 512x512, Model: a.safetensors, RNG: CPU, Denoising strength: 0.3, Hires resize: 1024x768, Hires upscaler: R-ESRGAN 4x+`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 ConditioningSetTimestepRange conditioning=2.0 start=0 end=0.5
4 CLIPTextEncode text="a dog" clip=1.1
5 ConditioningSetTimestepRange conditioning=4.0 start=0.5 end=1
6 ConditioningCombine conditioning_1=3.0 conditioning_2=5.0
7 CLIPTextEncode text="" clip=1.1
8 EmptyLatentImage width=512 height=512 batch_size=1
9 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=6.0 negative=7.0 latent_image=8.0 denoise=1
10 VAEDecode samples=9.0 vae=1.2
11 UpscaleModelLoader model_name="RealESRGAN_x4plus.pth"
12 ImageUpscaleWithModel upscale_model=11.0 image=10.0
13 ImageScale image=12.0 upscale_method="lanczos" width=1024 height=768 crop="center"
14 VAEEncode pixels=13.0 vae=1.2
15 CLIPTextEncode text="a dog" clip=1.1
16 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=15.0 negative=7.0 latent_image=14.0 denoise=0.3
17 VAEDecode samples=16.0 vae=1.2
18 SaveImage images=17.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-schedule'],
  },
  {
    name: 'made from a picture',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 9, Size: 512x512, Model: a.safetensors, RNG: CPU, Denoising strength: 0.6, Mask blur: 4`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 LoadImage image=""
5 ImageScale image=4.0 upscale_method="lanczos" width=512 height=512 crop="center"
6 VAEEncode pixels=5.0 vae=1.2
7 SetLatentNoiseMask samples=6.0 mask=4.1
8 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=2.0 negative=3.0 latent_image=7.0 denoise=0.6
9 VAEDecode samples=8.0 vae=1.2
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: ['bad-value foreign-needs-image', 'loss foreign-part-missing Inpainting'],
  },
  {
    name: 'SDXL with its refiner and a VAE',
    texts: {
      parameters: `a cat
Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 9, Size: 1024x1024, Model: sd_xl_base_1.0, VAE hash: 235745af8d, VAE: sdxl_vae.safetensors, Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.8, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="sd_xl_base_1.0.safetensors"
2 VAELoader vae_name="sdxl_vae.safetensors"
3 CLIPTextEncode text="a cat" clip=1.1
4 CLIPTextEncode text="" clip=1.1
5 EmptyLatentImage width=1024 height=1024 batch_size=1
6 KSamplerAdvanced steps=30 cfg=7 sampler_name="dpmpp_2m" scheduler="karras" model=1.0 add_noise="enable" noise_seed=9 positive=3.0 negative=4.0 latent_image=5.0 start_at_step=0 end_at_step=24 return_with_leftover_noise="enable"
7 CheckpointLoaderSimple ckpt_name="sd_xl_refiner_1.0.safetensors"
8 CLIPTextEncodeSDXLRefiner ascore=6 width=1024 height=1024 text="a cat" clip=7.1
9 CLIPTextEncodeSDXLRefiner ascore=2.5 width=1024 height=1024 text="" clip=7.1
10 KSamplerAdvanced steps=30 cfg=7 sampler_name="dpmpp_2m" scheduler="karras" model=7.0 add_noise="disable" noise_seed=9 positive=8.0 negative=9.0 latent_image=6.0 start_at_step=24 end_at_step=10000 return_with_leftover_noise="disable"
11 VAEDecode samples=10.0 vae=2.0
12 SaveImage images=11.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed'],
  },
  {
    name: 'extensions and settings ComfyUI has no place for',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: Restart, CFG scale: 7, Seed: 9, Size: 512x512, Model: a.safetensors, Variation seed: 3, Variation seed strength: 0.2, ADetailer model: face_yolov8n.pt, ADetailer prompt: "a, b", ControlNet 0: "Module: canny, Model: control_v11p [d14c016b]", ENSD: 31337, Eta: 0.67, Emphasis: No norm, Face restoration: CodeFormer, Tiling: True, Version: v1.10.1`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="heun" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [
      'warning foreign-sampler',
      'warning foreign-noise',
      'loss foreign-part-missing ADetailer',
      'loss foreign-part-missing ControlNet',
      'loss foreign-part-missing Variation seed',
      'loss foreign-part-missing Face restoration',
      'loss foreign-part-missing Tiling',
      'warning foreign-settings-unused',
    ],
  },
  {
    name: 'batch size, clip skip and token merging',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: DPM2 a, CFG scale: 7, Seed: 9, Size: 513x515, Model: a.safetensors, RNG: CPU, Clip skip: 2, Batch size: 4, Batch pos: 1, Token merging ratio: 0.3, CFG Rescale: 0.7`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPSetLastLayer clip=1.1 stop_at_clip_layer=-2
3 RescaleCFG model=1.0 multiplier=0.7
4 TomePatchModel model=3.0 ratio=0.3
5 CLIPTextEncode text="a cat" clip=2.0
6 CLIPTextEncode text="" clip=2.0
7 EmptyLatentImage width=512 height=512 batch_size=4
8 KSampler model=4.0 seed=9 steps=20 cfg=7 sampler_name="dpm_2_ancestral" scheduler="normal" positive=5.0 negative=6.0 latent_image=7.0 denoise=1
9 VAEDecode samples=8.0 vae=1.2
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'templates of dynamic prompts below the settings',
    texts: {
      parameters: `a red cat
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 9, Size: 512x512, Model: a.safetensors, RNG: CPU
Template: a {red|blue} cat
Negative Template: x`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a red cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=9 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'Forge with Flux from its parts',
    texts: {
      parameters: `a cat <lora:flux_realism:0.8>
Steps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 9, Size: 896x1152, Model hash: abc, Model: flux1-dev, Version: f2.0.1v1.10.1, Diffusion in Low Bits: Automatic, Module 1: ae, Module 2: t5xxl_fp8_e4m3fn, Module 3: clip_l`,
    },
    nodes: `
1 UNETLoader unet_name="flux1-dev.safetensors" weight_dtype="default"
2 DualCLIPLoader clip_name1="clip_l.safetensors" clip_name2="t5xxl_fp8_e4m3fn.safetensors" type="flux"
3 VAELoader vae_name="ae.safetensors"
4 LoraLoader model=1.0 clip=2.0 lora_name="flux_realism.safetensors" strength_model=0.8 strength_clip=0.8
5 CLIPTextEncode text="a cat" clip=4.1
6 FluxGuidance conditioning=5.0 guidance=3.5
7 CLIPTextEncode text="" clip=4.1
8 EmptySD3LatentImage width=896 height=1152 batch_size=1
9 KSampler model=4.0 seed=9 steps=20 cfg=1 sampler_name="euler" scheduler="simple" positive=6.0 negative=7.0 latent_image=8.0 denoise=1
10 VAEDecode samples=9.0 vae=3.0
11 SaveImage images=10.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'stable-diffusion.cpp',
    texts: {
      parameters: `a cat
Negative prompt: bad
Steps: 20, CFG scale: 1.000000, Guidance: 3.500000, Eta: 0.000000, Seed: 42, Size: 512x512, Model: flux1-dev-q8_0.gguf, RNG: cuda, Sampler: euler, Version: stable-diffusion.cpp`,
    },
    nodes: `
1 UnetLoaderGGUF unet_name="flux1-dev-q8_0.gguf"
2 DualCLIPLoader clip_name1="" clip_name2="" type="flux"
3 VAELoader vae_name=""
4 CLIPTextEncode text="a cat" clip=2.0
5 FluxGuidance conditioning=4.0 guidance=3.5
6 CLIPTextEncode text="bad" clip=2.0
7 EmptySD3LatentImage width=512 height=512 batch_size=1
8 KSampler model=1.0 seed=42 steps=20 cfg=1 sampler_name="euler" scheduler="normal" positive=5.0 negative=6.0 latent_image=7.0 denoise=1
9 VAEDecode samples=8.0 vae=3.0
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: [
      'bad-value foreign-no-model',
      'bad-value foreign-no-model',
      'bad-value foreign-no-model',
      'warning foreign-noise',
      'warning foreign-settings-unused',
    ],
  },
  {
    name: 'a text put on one line',
    texts: {
      parameters: `a cat, steps: none Negative prompt: bad, worse Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat, steps: none" clip=1.1
3 CLIPTextEncode text="bad, worse" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=1 steps=20 cfg=7 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'Forge with what it changes in the model',
    texts: {
      parameters: `a cat
Steps: 20, Sampler: Euler, Schedule type: Normal, CFG scale: 7, Seed: 9, Size: 1024x1024, Model: a.safetensors, RNG: CPU, freeu_enabled: True, freeu_b1: 1.3, freeu_b2: 1.4, freeu_s1: 0.9, freeu_s2: 0.2, freeu_start: 0.0, freeu_end: 1.0, sag_enabled: True, sag_scale: 0.6, sag_blur_sigma: 2.5, sag_threshold: 1.0, pagi_enabled: True, pagi_scale: 3, pagi_attenuation: 0.5, pagi_start_step: 0, pagi_end_step: 1, kohya_hrfix_enabled: True, kohya_hrfix_block_number: 3, kohya_hrfix_downscale_factor: 2, kohya_hrfix_start_percent: 0, kohya_hrfix_end_percent: 0.35, kohya_hrfix_downscale_after_skip: True, kohya_hrfix_downscale_method: bicubic, kohya_hrfix_upscale_method: area, dynthres_enabled: True, dynthres_mimic_scale: 7, Version: f2.0.1v1.10.1`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 FreeU_V2 model=1.0 b1=1.3 b2=1.4 s1=0.9 s2=0.2
3 SelfAttentionGuidance model=2.0 scale=0.6 blur_sigma=2.5
4 PerturbedAttentionGuidance model=3.0 scale=3
5 PatchModelAddDownscale model=4.0 block_number=3 downscale_factor=2 start_percent=0 end_percent=0.35 downscale_after_skip=true downscale_method="bicubic" upscale_method="area"
6 CLIPTextEncode text="a cat" clip=1.1
7 CLIPTextEncode text="" clip=1.1
8 EmptyLatentImage width=1024 height=1024 batch_size=1
9 KSampler model=5.0 seed=9 steps=20 cfg=7 sampler_name="euler" scheduler="normal" positive=6.0 negative=7.0 latent_image=8.0 denoise=1
10 VAEDecode samples=9.0 vae=1.2
11 SaveImage images=10.0 filename_prefix="ComfyUI"
`,
    told: ['loss foreign-part-missing Dynamic thresholding', 'loss foreign-part-missing Perturbed attention guidance'],
  },
  {
    name: 'Forge with a Flux checkpoint in GGUF',
    texts: {
      parameters: `a cat
Steps: 8, Sampler: [Forge] Flux Realistic, Schedule type: Beta, CFG scale: 1, Distilled CFG Scale: 3, Seed: 9, Size: 1024x1024, Model: flux1-schnell-Q4_K_S, Version: f2.0.1, Module 1: clip_l, Module 2: t5xxl_fp16, Module 3: ae.safetensors`,
    },
    nodes: `
1 UnetLoaderGGUF unet_name="flux1-schnell-Q4_K_S.gguf"
2 DualCLIPLoader clip_name1="clip_l.safetensors" clip_name2="t5xxl_fp16.safetensors" type="flux"
3 VAELoader vae_name="ae.safetensors"
4 CLIPTextEncode text="a cat" clip=2.0
5 FluxGuidance conditioning=4.0 guidance=3
6 CLIPTextEncode text="" clip=2.0
7 EmptySD3LatentImage width=1024 height=1024 batch_size=1
8 KSampler model=1.0 seed=9 steps=8 cfg=1 sampler_name="euler" scheduler="beta" positive=5.0 negative=6.0 latent_image=7.0 denoise=1
9 VAEDecode samples=8.0 vae=3.0
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-sampler', 'warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'SD.Next',
    texts: {
      parameters: `a cat
Negative prompt: ugly
Steps: 25, Size: 1024x1024, Sampler: Euler SGM, Seed: 31, CFG scale: 6, CFG rescale: 0.5, Model: juggernautXL_v9, Model hash: c9e3e68f89, Clip skip: 1, App: SD.Next, Version: 1bcba3a, Pipeline: StableDiffusionXLPipeline, Operations: txt2img, Parser: native`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="juggernautXL_v9.safetensors"
2 RescaleCFG model=1.0 multiplier=0.5
3 CLIPTextEncode text="a cat" clip=1.1
4 CLIPTextEncode text="ugly" clip=1.1
5 EmptyLatentImage width=1024 height=1024 batch_size=1
6 KSampler model=2.0 seed=31 steps=25 cfg=6 sampler_name="euler" scheduler="sgm_uniform" positive=3.0 negative=4.0 latent_image=5.0 denoise=1
7 VAEDecode samples=6.0 vae=1.2
8 SaveImage images=7.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'SD.Next with a second pass',
    texts: {
      parameters: `a cat <lora:cosy (20):0.5>
Negative prompt: ugly
Steps: 10, Seed: 1003952981, Sampler: DPM++ 3M, CFG scale: 4, Size: 768x1152, Parser: Full parser, Model: juggernautXL_v9, Model hash: f758af2038, Backend: Diffusers, App: SD.Next, Version: 900264a, Operations: upscale; hires; txt2img, Second pass: True, Hires force: True, Hires steps: 25, Hires upscaler: ESRGAN 4x Valar, Hires upscale: 1.5, Hires resize: 0x0, Hires size: 1152x1728, Denoising strength: 0.5, Hires sampler: DPM++ 3M, CFG rescale: 0.7, PAG scale: 4, PAG adaptive: 0.6`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="juggernautXL_v9.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="cosy (20).safetensors" strength_model=0.5 strength_clip=0.5
3 RescaleCFG model=2.0 multiplier=0.7
4 PerturbedAttentionGuidance model=3.0 scale=4
5 CLIPTextEncode text="a cat" clip=2.1
6 CLIPTextEncode text="ugly" clip=2.1
7 EmptyLatentImage width=768 height=1152 batch_size=1
8 KSampler model=4.0 seed=1003952981 steps=10 cfg=4 sampler_name="dpmpp_3m_sde" scheduler="normal" positive=5.0 negative=6.0 latent_image=7.0 denoise=1
9 VAEDecode samples=8.0 vae=1.2
10 UpscaleModelLoader model_name="ESRGAN 4x Valar.pth"
11 ImageUpscaleWithModel upscale_model=10.0 image=9.0
12 ImageScale image=11.0 upscale_method="lanczos" width=1152 height=1728 crop="disabled"
13 VAEEncode pixels=12.0 vae=1.2
14 KSampler model=4.0 seed=1003952981 steps=25 cfg=4 sampler_name="dpmpp_3m_sde" scheduler="normal" positive=5.0 negative=6.0 latent_image=13.0 denoise=0.5
15 VAEDecode samples=14.0 vae=1.2
16 SaveImage images=15.0 filename_prefix="ComfyUI"
`,
    told: [
      'warning foreign-sampler',
      'warning foreign-files-guessed',
      'warning foreign-noise',
      'loss foreign-part-missing Perturbed attention guidance',
    ],
  },
  {
    name: 'Civitai, models by their pages',
    texts: {
      parameters: `a cat
Negative prompt: bad
Steps: 25, CFG scale: 7, Sampler: DPM++ 2M Karras, Seed: 12, Size: 832x1216, Created Date: 2024-09-01T10:00:00.0000000Z, Clip skip: 2, Civitai resources: [{"type":"checkpoint","modelVersionId":290640,"modelName":"Pony Diffusion V6 XL","modelVersionName":"V6"},{"type":"lora","weight":0.7,"modelVersionId":1,"modelName":"Ink, style","modelVersionName":"v1"}], Civitai metadata: {}`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="Pony Diffusion V6 XL.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="Ink, style.safetensors" strength_model=0.7 strength_clip=0.7
3 CLIPSetLastLayer clip=2.1 stop_at_clip_layer=-2
4 CLIPTextEncode text="a cat" clip=3.0
5 CLIPTextEncode text="bad" clip=3.0
6 EmptyLatentImage width=832 height=1216 batch_size=1
7 KSampler model=2.0 seed=12 steps=25 cfg=7 sampler_name="dpmpp_2m" scheduler="karras" positive=4.0 negative=5.0 latent_image=6.0 denoise=1
8 VAEDecode samples=7.0 vae=1.2
9 SaveImage images=8.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'Civitai’s record of a picture',
    texts: {
      json: metadata({
        prompt: 'a cat',
        negativePrompt: 'bad',
        cfgScale: 5,
        steps: 20,
        sampler: 'Euler a',
        seed: 7,
        clipSkip: 2,
        Size: '512x512',
        Model: 'anything-v5',
        resources: [{ name: 'glow', type: 'lora', weight: 0.5 }],
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="anything-v5.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="glow.safetensors" strength_model=0.5 strength_clip=0.5
3 CLIPSetLastLayer clip=2.1 stop_at_clip_layer=-2
4 CLIPTextEncode text="a cat" clip=3.0
5 CLIPTextEncode text="bad" clip=3.0
6 EmptyLatentImage width=512 height=512 batch_size=1
7 KSampler model=2.0 seed=7 steps=20 cfg=5 sampler_name="euler_ancestral" scheduler="normal" positive=4.0 negative=5.0 latent_image=6.0 denoise=1
8 VAEDecode samples=7.0 vae=1.2
9 SaveImage images=8.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'a request to AUTOMATIC1111',
    texts: {
      json: metadata({
        prompt: 'a cat',
        negative_prompt: 'bad',
        steps: 15,
        sampler_name: 'DPM++ 2M',
        scheduler: 'Karras',
        cfg_scale: 6,
        seed: 7,
        width: 512,
        height: 768,
        batch_size: 2,
        enable_hr: true,
        hr_scale: 2,
        hr_upscaler: 'Latent',
        denoising_strength: 0.5,
        override_settings: { sd_model_checkpoint: 'x.safetensors [123456]', CLIP_stop_at_last_layers: 2 },
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="x.safetensors"
2 CLIPSetLastLayer clip=1.1 stop_at_clip_layer=-2
3 CLIPTextEncode text="a cat" clip=2.0
4 CLIPTextEncode text="bad" clip=2.0
5 EmptyLatentImage width=512 height=768 batch_size=2
6 KSampler model=1.0 seed=7 steps=15 cfg=6 sampler_name="dpmpp_2m" scheduler="karras" positive=3.0 negative=4.0 latent_image=5.0 denoise=1
7 LatentUpscale samples=6.0 upscale_method="bilinear" width=1024 height=1536 crop="disabled"
8 KSampler model=1.0 seed=7 steps=15 cfg=6 sampler_name="dpmpp_2m" scheduler="karras" positive=3.0 negative=4.0 latent_image=7.0 denoise=0.5
9 VAEDecode samples=8.0 vae=1.2
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-noise'],
  },
  {
    name: 'an answer of AUTOMATIC1111',
    texts: {
      json: metadata({
        images: [],
        parameters: {},
        info: '{"prompt":"a cat","seed":5,"infotexts":["a cat\\nSteps: 9, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 512x512, Model: a.safetensors, RNG: CPU"]}',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="a.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=5 steps=9 cfg=7 sampler_name="euler" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: [],
  },
  {
    name: 'Fooocus, its own scheme',
    texts: {
      fooocus_scheme: `fooocus`,
      parameters: metadata({
        adm_guidance: '(1.5, 0.8, 0.3)',
        base_model: 'juggernautXL_v8Rundiffusion',
        base_model_hash: 'aeb7e9e689',
        clip_skip: 2,
        full_negative_prompt: ['anime, cartoon', 'low quality'],
        full_prompt: ['cinematic still a cat', 'a cat, intricate'],
        freeu: '(1.01, 1.02, 0.99, 0.95)',
        guidance_scale: 4,
        loras: [['sd_xl_offset_example-lora_1.0', 0.1, '4852686128']],
        metadata_scheme: 'fooocus',
        negative_prompt: 'low quality',
        performance: 'Speed',
        prompt: 'a cat',
        refiner_model: 'None',
        refiner_switch: 0.5,
        resolution: '(1152, 896)',
        sampler: 'dpmpp_2m_sde_gpu',
        scheduler: 'karras',
        seed: '4589645839345',
        sharpness: 2,
        steps: 30,
        styles: "['Fooocus Cinematic']",
        vae: 'Default (model)',
        version: 'Fooocus v2.5.5',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="juggernautXL_v8Rundiffusion.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="sd_xl_offset_example-lora_1.0.safetensors" strength_model=0.1 strength_clip=0.1
3 CLIPSetLastLayer clip=2.1 stop_at_clip_layer=-2
4 FreeU_V2 model=2.0 b1=1.01 b2=1.02 s1=0.99 s2=0.95
5 CLIPTextEncode text="cinematic still a cat" clip=3.0
6 CLIPTextEncode text="a cat, intricate" clip=3.0
7 ConditioningConcat conditioning_to=5.0 conditioning_from=6.0
8 CLIPTextEncode text="anime, cartoon" clip=3.0
9 CLIPTextEncode text="low quality" clip=3.0
10 ConditioningConcat conditioning_to=8.0 conditioning_from=9.0
11 EmptyLatentImage width=1152 height=896 batch_size=1
12 KSampler model=4.0 seed=4589645839345 steps=30 cfg=4 sampler_name="dpmpp_2m_sde_gpu" scheduler="karras" positive=7.0 negative=10.0 latent_image=11.0 denoise=1
13 VAEDecode samples=12.0 vae=1.2
14 SaveImage images=13.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-settings-unused', 'warning foreign-files-guessed'],
  },
  {
    name: 'Fooocus, AUTOMATIC1111’s scheme',
    texts: {
      parameters: `cinematic still a cat
Negative prompt: anime
Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 458, Size: 1152x896, CFG scale: 4, Sharpness: 2, ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8Rundiffusion, Model hash: aeb7e9e689, Performance: Speed, Scheduler: karras, VAE: Default (model), Raw prompt: a cat, Raw negative prompt: , Clip skip: 2, Lora hashes: "offset: 4852686128", Lora weights: "offset: 0.1", Version: Fooocus v2.5.5`,
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="juggernautXL_v8Rundiffusion.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="offset.safetensors" strength_model=0.1 strength_clip=0.1
3 CLIPSetLastLayer clip=2.1 stop_at_clip_layer=-2
4 CLIPTextEncode text="cinematic still a cat" clip=3.0
5 CLIPTextEncode text="anime" clip=3.0
6 EmptyLatentImage width=1152 height=896 batch_size=1
7 KSampler model=2.0 seed=458 steps=30 cfg=4 sampler_name="dpmpp_2m_sde" scheduler="karras" positive=4.0 negative=5.0 latent_image=6.0 denoise=1
8 VAEDecode samples=7.0 vae=1.2
9 SaveImage images=8.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise', 'warning foreign-settings-unused'],
  },
  {
    name: 'Fooocus, the log’s copy',
    texts: {
      json: metadata({
        Prompt: 'a cat',
        'Negative Prompt': 'bad',
        'Fooocus V2 Expansion': 'a cat, dramatic',
        Styles: "['Fooocus V2']",
        Performance: 'Quality',
        Resolution: '(896, 1152)',
        Sharpness: 2,
        'Guidance Scale': 4,
        'ADM Guidance': '(1.5, 0.8, 0.3)',
        'Base Model': 'realisticStockPhoto_v20.safetensors',
        'Refiner Model': 'refine.safetensors',
        'Refiner Switch': 0.6,
        Sampler: 'dpmpp_2m_sde_gpu',
        Scheduler: 'karras',
        Seed: 12,
        'LoRA 1': 'SDXL_FILM_V1.safetensors : 0.25',
        Version: 'v2.1.860',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="realisticStockPhoto_v20.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="SDXL_FILM_V1.safetensors" strength_model=0.25 strength_clip=0.25
3 CLIPTextEncode text="a cat" clip=2.1
4 CLIPTextEncode text="bad" clip=2.1
5 EmptyLatentImage width=896 height=1152 batch_size=1
6 KSamplerAdvanced steps=60 cfg=4 sampler_name="dpmpp_2m_sde_gpu" scheduler="karras" model=2.0 add_noise="enable" noise_seed=12 positive=3.0 negative=4.0 latent_image=5.0 start_at_step=0 end_at_step=36 return_with_leftover_noise="enable"
7 CheckpointLoaderSimple ckpt_name="refine.safetensors"
8 CLIPTextEncode text="a cat" clip=7.1
9 CLIPTextEncode text="bad" clip=7.1
10 KSamplerAdvanced steps=60 cfg=4 sampler_name="dpmpp_2m_sde_gpu" scheduler="karras" model=7.0 add_noise="disable" noise_seed=12 positive=8.0 negative=9.0 latent_image=6.0 start_at_step=36 end_at_step=10000 return_with_leftover_noise="disable"
11 VAEDecode samples=10.0 vae=7.2
12 SaveImage images=11.0 filename_prefix="ComfyUI"
`,
    told: ['loss foreign-part-missing Styles', 'warning foreign-settings-unused'],
  },
  {
    name: 'InvokeAI',
    texts: {
      invokeai_metadata: metadata({
        generation_mode: 'sdxl_txt2img',
        positive_prompt: 'a (happy)1.3 cat++, a tree-',
        negative_prompt: 'blurry',
        positive_style_prompt: '',
        width: 1024,
        height: 1024,
        seed: 2841,
        rand_device: 'cpu',
        cfg_scale: 7.5,
        cfg_rescale_multiplier: 0,
        steps: 30,
        scheduler: 'dpmpp_2m_k',
        clip_skip: 0,
        model: { key: 'x', hash: 'blake3:1', name: 'Juggernaut XL v9', base: 'sdxl', type: 'main' },
        loras: [{ model: { key: 'y', name: 'pixel art', base: 'sdxl', type: 'lora' }, weight: 0.75 }],
        controlnets: [{ control_weight: 1 }],
        app_version: '4.2.8',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="Juggernaut XL v9.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="pixel art.safetensors" strength_model=0.75 strength_clip=0.75
3 CLIPTextEncode text="a (happy:1.3) (cat:1.21), a (tree:0.9)" clip=2.1
4 CLIPTextEncode text="blurry" clip=2.1
5 EmptyLatentImage width=1024 height=1024 batch_size=1
6 KSampler model=2.0 seed=2841 steps=30 cfg=7.5 sampler_name="dpmpp_2m" scheduler="karras" positive=3.0 negative=4.0 latent_image=5.0 denoise=1
7 VAEDecode samples=6.0 vae=1.2
8 SaveImage images=7.0 filename_prefix="ComfyUI"
`,
    told: ['loss foreign-part-missing ControlNet', 'warning foreign-files-guessed', 'warning foreign-weights'],
  },
  {
    name: 'InvokeAI, from a picture',
    texts: {
      invokeai_metadata: metadata({
        generation_mode: 'img2img',
        positive_prompt: 'a cat',
        negative_prompt: '',
        width: 512,
        height: 512,
        seed: 3,
        rand_device: 'cpu',
        cfg_scale: 7,
        steps: 20,
        scheduler: 'euler_a',
        clip_skip: 1,
        strength: 0.6,
        model: { model_name: 'stable-diffusion-v1-5', base_model: 'sd-1', model_type: 'main' },
        vae: { model_name: 'ft-mse', base_model: 'sd-1' },
        app_version: '3.4.0',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="stable-diffusion-v1-5.safetensors"
2 VAELoader vae_name="ft-mse.safetensors"
3 CLIPSetLastLayer clip=1.1 stop_at_clip_layer=-2
4 CLIPTextEncode text="a cat" clip=3.0
5 CLIPTextEncode text="" clip=3.0
6 LoadImage image=""
7 ImageScale image=6.0 upscale_method="lanczos" width=512 height=512 crop="center"
8 VAEEncode pixels=7.0 vae=2.0
9 KSampler model=1.0 seed=3 steps=20 cfg=7 sampler_name="euler_ancestral" scheduler="normal" positive=4.0 negative=5.0 latent_image=8.0 denoise=0.6
10 VAEDecode samples=9.0 vae=2.0
11 SaveImage images=10.0 filename_prefix="ComfyUI"
`,
    told: ['bad-value foreign-needs-image', 'warning foreign-files-guessed'],
  },
  {
    name: 'InvokeAI with Flux',
    texts: {
      invokeai_metadata: metadata({
        generation_mode: 'flux_txt2img',
        positive_prompt: 'a cat',
        width: 1024,
        height: 768,
        seed: 3,
        steps: 25,
        scheduler: 'euler',
        guidance: 4,
        model: { name: 'FLUX Dev', base: 'flux' },
        t5_encoder: { name: 't5_bnb_int8' },
        clip_embed_model: { name: 'clip-vit-large' },
        vae: { name: 'FLUX.1 ae' },
        app_version: '5.0.0',
      }),
    },
    nodes: `
1 UNETLoader unet_name="FLUX Dev.safetensors" weight_dtype="default"
2 DualCLIPLoader clip_name1="clip-vit-large.safetensors" clip_name2="t5_bnb_int8.safetensors" type="flux"
3 VAELoader vae_name="FLUX.1 ae.safetensors"
4 CLIPTextEncode text="a cat" clip=2.0
5 FluxGuidance conditioning=4.0 guidance=4
6 CLIPTextEncode text="" clip=2.0
7 EmptySD3LatentImage width=1024 height=768 batch_size=1
8 KSampler model=1.0 seed=3 steps=25 cfg=1 sampler_name="euler" scheduler="simple" positive=5.0 negative=6.0 latent_image=7.0 denoise=1
9 VAEDecode samples=8.0 vae=3.0
10 SaveImage images=9.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'InvokeAI 2',
    texts: {
      'sd-metadata': metadata({
        model: 'stable diffusion',
        model_weights: 'stable-diffusion-1.5',
        app_id: 'invoke-ai/InvokeAI',
        app_version: '2.3.5',
        image: {
          prompt: [{ prompt: 'a cat [ugly]', weight: 1 }],
          steps: 50,
          cfg_scale: 7.5,
          height: 512,
          width: 512,
          seed: 4,
          type: 'txt2img',
          sampler: 'k_lms',
        },
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="stable-diffusion-1.5.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="ugly" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=4 steps=50 cfg=7.5 sampler_name="lms" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'a line of the first InvokeAI',
    texts: { Dream: `"a cat [ugly]" -s 50 -S 1234 -W 512 -H 640 -C 7.5 -A k_euler_a` },
    nodes: `
1 CheckpointLoaderSimple ckpt_name=""
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="ugly" clip=1.1
4 EmptyLatentImage width=512 height=640 batch_size=1
5 KSampler model=1.0 seed=1234 steps=50 cfg=7.5 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['bad-value foreign-no-model', 'warning foreign-noise'],
  },
  {
    name: 'NovelAI 3',
    texts: {
      Software: `NovelAI`,
      Title: `AI generated image`,
      Description: `x`,
      Comment: metadata({
        prompt: '{{1girl}}, [sky], (x)',
        steps: 28,
        height: 1216,
        width: 832,
        scale: 5,
        uncond_scale: 1,
        cfg_rescale: 0.2,
        seed: 1234567890,
        n_samples: 1,
        noise_schedule: 'karras',
        sampler: 'k_euler_ancestral',
        uc: 'lowres',
        sm: true,
        sm_dyn: false,
        request_type: 'PromptGenerateRequest',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name=""
2 RescaleCFG model=1.0 multiplier=0.2
3 CLIPTextEncode text="(1girl:1.103), (sky:0.952), \\\\(x\\\\)" clip=1.1
4 CLIPTextEncode text="lowres" clip=1.1
5 EmptyLatentImage width=832 height=1216 batch_size=1
6 KSampler model=2.0 seed=1234567890 steps=28 cfg=5 sampler_name="euler_ancestral" scheduler="karras" positive=3.0 negative=4.0 latent_image=5.0 denoise=1
7 VAEDecode samples=6.0 vae=1.2
8 SaveImage images=7.0 filename_prefix="ComfyUI"
`,
    told: [
      'bad-value foreign-no-model',
      'loss foreign-part-missing SMEA',
      'warning foreign-noise',
      'warning foreign-weights',
    ],
  },
  {
    name: 'NovelAI 4 with people',
    texts: {
      Software: `NovelAI`,
      Comment: metadata({
        prompt: 'two girls',
        steps: 23,
        height: 832,
        width: 1216,
        scale: 6,
        seed: 99,
        noise_schedule: 'native',
        sampler: 'k_dpmpp_2m',
        uc: 'bad',
        v4_prompt: {
          caption: {
            base_caption: '1.3::two girls::, park',
            char_captions: [{ char_caption: 'girl, red hair', centers: [{ x: 0.5, y: 0.5 }] }],
          },
        },
        v4_negative_prompt: { caption: { base_caption: 'bad', char_captions: [] } },
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name=""
2 CLIPTextEncode text="(two girls:1.3), park" clip=1.1
3 CLIPTextEncode text="girl, red hair" clip=1.1
4 ConditioningConcat conditioning_to=2.0 conditioning_from=3.0
5 CLIPTextEncode text="bad" clip=1.1
6 EmptyLatentImage width=1216 height=832 batch_size=1
7 KSampler model=1.0 seed=99 steps=23 cfg=6 sampler_name="dpmpp_2m" scheduler="normal" positive=4.0 negative=5.0 latent_image=6.0 denoise=1
8 VAEDecode samples=7.0 vae=1.2
9 SaveImage images=8.0 filename_prefix="ComfyUI"
`,
    told: ['bad-value foreign-no-model', 'warning foreign-noise', 'warning foreign-weights'],
  },
  {
    name: 'SwarmUI',
    texts: {
      parameters: metadata({
        sui_image_params: {
          prompt: 'a cat <embed:glow> <lora:ink:0.5><break>night',
          negativeprompt: 'bad',
          model: 'OfficialStableDiffusion/sd_xl_base_1.0',
          seed: 123456789,
          steps: 20,
          cfgscale: 7,
          aspectratio: '1:1',
          width: 1024,
          height: 1024,
          sampler: 'dpmpp_2m',
          scheduler: 'karras',
          loras: ['detail', 'ink'],
          loraweights: ['0.8', '0.5'],
          clipstopatlayer: -2,
          automaticvae: true,
          swarm_version: '0.9.5.0',
        },
        sui_extra_data: { date: '2025-01-01' },
        sui_models: [{ name: 'OfficialStableDiffusion/sd_xl_base_1.0.safetensors', param: 'model', hash: '0x31e3' }],
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="OfficialStableDiffusion/sd_xl_base_1.0.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="detail.safetensors" strength_model=0.8 strength_clip=0.8
3 LoraLoader model=2.0 clip=2.1 lora_name="ink.safetensors" strength_model=0.5 strength_clip=0.5
4 CLIPSetLastLayer clip=3.1 stop_at_clip_layer=-2
5 CLIPTextEncode text="a cat embedding:glow" clip=4.0
6 CLIPTextEncode text="night" clip=4.0
7 ConditioningConcat conditioning_to=5.0 conditioning_from=6.0
8 CLIPTextEncode text="bad" clip=4.0
9 EmptyLatentImage width=1024 height=1024 batch_size=1
10 KSampler model=3.0 seed=123456789 steps=20 cfg=7 sampler_name="dpmpp_2m" scheduler="karras" positive=7.0 negative=8.0 latent_image=9.0 denoise=1
11 VAEDecode samples=10.0 vae=1.2
12 SaveImage images=11.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed'],
  },
  {
    name: 'SwarmUI of old',
    texts: {
      parameters: metadata({
        sui_image_params: {
          prompt: 'a cat <lora:ink:0.8:0.3>',
          negativeprompt: 'dog',
          model: 'OfficialStableDiffusion/sd_xl_base_1.0',
          seed: 1,
          steps: 20,
          cfgscale: 7,
          width: 1024,
          height: 1024,
          comfyuisampler: 'euler',
          comfyuischeduler: 'karras',
          variationseed: 5,
          variationseedstrength: 0.1,
          swarm_version: '0.6.1.0',
        },
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="OfficialStableDiffusion/sd_xl_base_1.0.safetensors"
2 LoraLoader model=1.0 clip=1.1 lora_name="ink.safetensors" strength_model=0.8 strength_clip=0.3
3 CLIPTextEncode text="a cat" clip=2.1
4 CLIPTextEncode text="dog" clip=2.1
5 EmptyLatentImage width=1024 height=1024 batch_size=1
6 KSampler model=2.0 seed=1 steps=20 cfg=7 sampler_name="euler" scheduler="karras" positive=3.0 negative=4.0 latent_image=5.0 denoise=1
7 VAEDecode samples=6.0 vae=1.2
8 SaveImage images=7.0 filename_prefix="ComfyUI"
`,
    told: ['loss foreign-part-missing Variation seed', 'warning foreign-files-guessed'],
  },
  {
    name: 'SwarmUI with its refiner enlarging, Flux',
    texts: {
      sui_image_params: metadata({
        prompt: 'a cat <segment:face>soft',
        negativeprompt: '',
        model: 'flux1-dev-fp8',
        seed: 5,
        steps: 20,
        cfgscale: 1,
        fluxguidancescale: 3,
        sigmashift: 1.15,
        width: 1024,
        height: 768,
        sampler: 'euler',
        scheduler: 'simple',
        refinercontrolpercentage: 0.3,
        refinermethod: 'PostApply',
        refinerupscale: 1.5,
        refinerupscalemethod: 'model-4x-UltraSharp.pth',
        controlnetmodel: 'x',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="flux1-dev-fp8.safetensors"
2 ModelSamplingFlux model=1.0 max_shift=1.15 base_shift=1.15 width=1024 height=768
3 CLIPTextEncode text="a cat soft" clip=1.1
4 FluxGuidance conditioning=3.0 guidance=3
5 CLIPTextEncode text="" clip=1.1
6 EmptySD3LatentImage width=1024 height=768 batch_size=1
7 KSampler model=2.0 seed=5 steps=20 cfg=1 sampler_name="euler" scheduler="simple" positive=4.0 negative=5.0 latent_image=6.0 denoise=1
8 VAEDecode samples=7.0 vae=1.2
9 UpscaleModelLoader model_name="4x-UltraSharp.pth"
10 ImageUpscaleWithModel upscale_model=9.0 image=8.0
11 ImageScale image=10.0 upscale_method="lanczos" width=1536 height=1152 crop="disabled"
12 VAEEncode pixels=11.0 vae=1.2
13 KSampler model=2.0 seed=5 steps=20 cfg=1 sampler_name="euler" scheduler="simple" positive=4.0 negative=5.0 latent_image=12.0 denoise=0.3
14 VAEDecode samples=13.0 vae=1.2
15 SaveImage images=14.0 filename_prefix="ComfyUI"
`,
    told: ['loss foreign-part-missing ControlNet', 'warning foreign-files-guessed', 'loss foreign-tags'],
  },
  {
    name: 'Easy Diffusion',
    texts: {
      json: metadata({
        prompt: 'a cat',
        negative_prompt: 'bad',
        seed: 8,
        num_inference_steps: 25,
        guidance_scale: 7.5,
        width: 512,
        height: 512,
        sampler_name: 'euler_a',
        use_stable_diffusion_model: 'sd-v1-5',
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="sd-v1-5.safetensors"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="bad" clip=1.1
4 EmptyLatentImage width=512 height=512 batch_size=1
5 KSampler model=1.0 seed=8 steps=25 cfg=7.5 sampler_name="euler_ancestral" scheduler="normal" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-files-guessed', 'warning foreign-noise'],
  },
  {
    name: 'Draw Things',
    texts: {
      UserComment: metadata({
        c: 'a cat',
        uc: 'bad',
        model: 'sd_v1.5_f16.ckpt',
        sampler: 'DPM++ 2M Karras',
        scale: 7,
        seed: 8,
        size: '512x640',
        steps: 25,
        strength: 1,
      }),
    },
    nodes: `
1 CheckpointLoaderSimple ckpt_name="sd_v1.5_f16.ckpt"
2 CLIPTextEncode text="a cat" clip=1.1
3 CLIPTextEncode text="bad" clip=1.1
4 EmptyLatentImage width=512 height=640 batch_size=1
5 KSampler model=1.0 seed=8 steps=25 cfg=7 sampler_name="dpmpp_2m" scheduler="karras" positive=2.0 negative=3.0 latent_image=4.0 denoise=1
6 VAEDecode samples=5.0 vae=1.2
7 SaveImage images=6.0 filename_prefix="ComfyUI"
`,
    told: ['warning foreign-noise'],
  },
]
