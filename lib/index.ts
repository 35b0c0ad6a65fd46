// The public names.

export { LLaVA } from './llava.js'
export type { AttentionOfTokensOptions, AttentionOptions, TraceOptions } from './llava.js'
export type { MeanAttentionOptions, TokenAttention } from './attention.js'
export type { Occlusion, OcclusionOptions } from './occlusion.js'
export type { Answered } from './answers/answered.js'
export { answerWords } from './answers/answer-words.js'
export type { AnswerWord } from './answers/answer-words.js'
export type { OpenOptions } from './open-model.js'
export type { ModelInfo } from './model-info.js'
export type { AnswerOptions, AskInput, AskManyOptions, Message, PromptOptions } from './answers/answer-options.js'
export { CLIP } from './clip.js'
export type {
  ClipEmbedManyOptions,
  ClipEmbedOptions,
  ClipInfo,
  ClipInput,
  ClipOptions,
  SimilarityOptions,
  ZeroShot,
  ZeroShotOptions,
} from './clip.js'
export type { EncodeOptions, ImageOptions } from './image/image-options.js'
export type { Answer, Timings, Usage } from './answers/answer.js'
export type { AnswerValue, FormatOptions } from './answers/answer-format.js'
export type { StandardIssue, StandardResult, StandardSchema } from './answers/standard-schema.js'
export type { JsonValue } from './structured/json-literal.js'
export type { FinishReason, GeneratedToken } from './answers/generation.js'
export type { TokenLogprob, TokenLogprobs } from './answers/token-logprobs.js'
export type { ChatStream, ChatStreamEvents } from './answers/chat-stream.js'
export type { ManyProgress, ManyProgressListener, Progress, ProgressListener } from './progress.js'
export type { RequestMessage, RequestOutcome, RequestSubject } from './answers/request-channel.js'
export type { Context, ForwardOptions, PromptPiece } from './engine/context.js'
export { Conversation } from './conversation.js'
export type { Content, ConversationOptions, RestoreOptions, SaveOptions, SayOptions } from './conversation.js'
export type { PictureSource, SavedConversation, SavedMessage, SavedPicture } from './saved-conversation.js'
export type {
  EmbedInput,
  EmbedManyOptions,
  EmbedOptions,
  EmbedPrompt,
  EmbedResult,
  Embedding,
  EmbeddingKind,
} from './embedding.js'
export type { EmbeddingData, EmbeddingDtype } from './vector-dtype.js'
export { directoryDtypes, embedToDirectory } from './embed-to-directory.js'
export type {
  DirectoryDtype,
  DirectoryProgress,
  EmbeddedDirectory,
  EmbedToDirectoryOptions,
  NamedInput,
} from './embed-to-directory.js'
export { saveNpy } from './vectors/npy.js'
export type { NpyData } from './vectors/npy.js'
export type { NameColumn } from './vectors/shard-directory.js'
export type { NamedResult } from './engine/many-inputs.js'
export { EncodedImage } from './engine/encoded-image.js'
export type { ImageSource } from './engine/encoded-image.js'
export { LlavaError } from './errors.js'
export type { LlavaErrorCode } from './errors.js'
export { decodeImage } from './image/decode.js'
export type { DecodeOptions, ImageInput, RawRgb, RgbImage } from './image/decode.js'
export { templateNames } from './prompt/templates.js'
export type { ChatMessage, TemplateName } from './prompt/templates.js'
export type { LogitsProcessor, SamplingOptions } from './sampling/options.js'
export { convertModel } from './conversion/convert.js'
export type { ConversionOutline, ConversionProgress, ConvertedModel, ConvertOptions } from './conversion/convert.js'
export { conversionTypes, visionTypes } from './weights/conversion-plan.js'
export type { ConversionType, VisionType } from './weights/conversion-plan.js'
export { checkModel } from './conversion/check.js'
export type { CheckedModel, CheckedTensor, CheckOptions, CheckProgress } from './conversion/check.js'
export { pullModel } from './hub/pull.js'
export type { PlannedFile, PulledFile, PulledModel, PullOptions, PullPlan, PullProgress } from './hub/pull.js'
export { listModels } from './hub/pulled-models.js'
export type { ListedModel } from './hub/pulled-models.js'
export { inspectModel } from './inspect-model.js'
export type { InspectedModel } from './inspect-model.js'
export { removeModel } from './hub/remove-model.js'
export type { RemovalPlan, RemovedModel, RemoveOptions } from './hub/remove-model.js'
export { pullTypes } from './hub/gguf-choice.js'
export type { PullType } from './hub/gguf-choice.js'
export { wellKnownNames, wellKnownRepositories } from './hub/model-name.js'
export { saveTrace } from './trace.js'
export type { Tensor, Trace } from './trace.js'
export type { BenchmarkLine, BenchmarkOptions } from './benchmark/benchmark.js'
export type { Machine } from './machine.js'
export { isas } from './native.js'
export type { Device } from './device.js'
export type { DeviceIsa, Dtype, Isa, KvDtype, MemoryPlan, NativeInfo } from './native.js'
