// The public names.

export { LLaVA } from './llava.js'
export type {
  AnswerOptions,
  AskInput,
  AskManyOptions,
  EncodeOptions,
  ImageSource,
  Message,
  ModelInfo,
  OpenOptions,
  PromptOptions,
  TraceOptions,
} from './llava.js'
export { CLIP } from './clip.js'
export type {
  ClipEmbedManyOptions,
  ClipEmbedOptions,
  ClipInfo,
  ClipInput,
  ClipOptions,
  ZeroShot,
  ZeroShotOptions,
} from './clip.js'
export type { ImageOptions } from './image-options.js'
export type { Answer, Timings, Usage } from './answer.js'
export type { AnswerValue, FormatOptions } from './answer-format.js'
export type { StandardIssue, StandardResult, StandardSchema } from './standard-schema.js'
export type { JsonValue } from './structured/json-literal.js'
export type { FinishReason, GeneratedToken } from './generation.js'
export type { TokenLogprob, TokenLogprobs } from './token-logprobs.js'
export type { ChatStream, ChatStreamEvents } from './chat-stream.js'
export type { Progress, ProgressListener } from './progress.js'
export type { RequestMessage, RequestOutcome, RequestSubject } from './request-channel.js'
export type { Context, ForwardOptions, PromptPiece } from './context.js'
export { Conversation } from './conversation.js'
export type { Content, ConversationOptions, SayOptions } from './conversation.js'
export type {
  EmbedInput,
  EmbedManyOptions,
  EmbedOptions,
  EmbedPrompt,
  EmbedResult,
  Embedding,
  EmbeddingDtype,
  EmbeddingKind,
} from './embedding.js'
export type { NamedResult } from './many-inputs.js'
export { EncodedImage } from './engine/encoded-image.js'
export { LlavaError } from './errors.js'
export type { LlavaErrorCode } from './errors.js'
export { decodeImage } from './image/decode.js'
export type { DecodeOptions, ImageInput, RawRgb, RgbImage } from './image/decode.js'
export { templateNames } from './prompt/templates.js'
export type { ChatMessage, TemplateName } from './prompt/templates.js'
export type { LogitsProcessor, SamplingOptions } from './sampling/options.js'
export { convertModel } from './convert.js'
export type { ConversionOutline, ConversionProgress, ConvertedModel, ConvertOptions } from './convert.js'
export { conversionTypes, visionTypes } from './weights/conversion-plan.js'
export type { ConversionType, VisionType } from './weights/conversion-plan.js'
export { checkModel } from './check.js'
export type { CheckedModel, CheckedTensor, CheckOptions, CheckProgress } from './check.js'
export { pullModel } from './pull.js'
export type { PlannedFile, PulledFile, PulledModel, PullOptions, PullPlan, PullProgress } from './pull.js'
export { listModels } from './pulled-models.js'
export type { ListedModel } from './pulled-models.js'
export { inspectModel } from './inspect-model.js'
export type { InspectedModel } from './inspect-model.js'
export { removeModel } from './remove-model.js'
export type { RemovalPlan, RemovedModel, RemoveOptions } from './remove-model.js'
export { pullTypes } from './gguf-choice.js'
export type { PullType } from './gguf-choice.js'
export { wellKnownNames, wellKnownRepositories } from './hub/model-name.js'
export { saveTrace } from './trace.js'
export type { Tensor, Trace } from './trace.js'
export type { BenchmarkLine, BenchmarkOptions } from './benchmark.js'
export type { Machine } from './machine.js'
export { isas } from './native.js'
export type { Dtype, Isa, KvDtype, NativeInfo } from './native.js'
