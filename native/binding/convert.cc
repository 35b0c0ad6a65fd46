#include "binding/convert.h"

#include <cmath>
#include <new>
#include <system_error>

namespace llava::binding {

namespace {

[[noreturn]] void expected(const char* name, const char* what) {
  throw Error(ErrorCode::kInvalidArgument, std::string("expected `") + name + "` to be " + what);
}

}  // namespace

Napi::Error to_js(Napi::Env env, const Error& error) {
  Napi::Error js = Napi::Error::New(env, error.what());
  js.Set("code", Napi::String::New(env, code_name(error.code())));
  return js;
}

Error from_current_exception() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "out of memory");
  } catch (const std::system_error& error) {
    const bool lacking =
        error.code() == std::errc::resource_unavailable_try_again || error.code() == std::errc::not_enough_memory;
    return lacking ? Error(ErrorCode::kOutOfMemory, "out of memory: a thread could not be started")
                   : Error(ErrorCode::kInternal, error.what());
  } catch (const std::exception& error) {
    return Error(ErrorCode::kInternal, error.what());
  } catch (...) {
    return Error(ErrorCode::kInternal, "an unknown failure in native code");
  }
}

Napi::Array strings_to_js(Napi::Env env, const std::vector<std::string>& list) {
  const Napi::Array array = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) array.Set(static_cast<uint32_t>(i), Napi::String::New(env, list[i]));
  return array;
}

Napi::Object object_of(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) expected(name, "an object");
  return value.As<Napi::Object>();
}

Napi::Array array_of(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) expected(name, "an array");
  return value.As<Napi::Array>();
}

std::string string_of(const Napi::Value& value, const char* name) {
  if (!value.IsString()) expected(name, "a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) expected(name, "a string without NUL");
  return text;
}

bool boolean_of(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) expected(name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

int64_t integer_of(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) expected(name, "a whole number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(std::fabs(number) <= 9007199254740992.0) || number != std::trunc(number)) expected(name, "a whole number");
  return static_cast<int64_t>(number);
}

float float_of(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) expected(name, "a number");
  return value.As<Napi::Number>().FloatValue();
}

namespace {

template <class Array>
Array typed_array_of(const Napi::Value& value, const char* name, napi_typedarray_type type, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) expected(name, what);
  const Napi::Value buffer = value.As<Napi::TypedArray>().Get("buffer");
  if (!buffer.IsArrayBuffer()) expected(name, "backed by an ArrayBuffer, not by shared memory");
  if (buffer.As<Napi::ArrayBuffer>().IsDetached())
    expected(name, "an array whose buffer has not been transferred away");
  return value.As<Array>();
}

}  // namespace

Napi::Float32Array float32_array_of(const Napi::Value& value, const char* name) {
  return typed_array_of<Napi::Float32Array>(value, name, napi_float32_array, "a Float32Array");
}

Napi::Uint8Array uint8_array_of(const Napi::Value& value, const char* name) {
  return typed_array_of<Napi::Uint8Array>(value, name, napi_uint8_array, "a Uint8Array");
}

std::vector<int32_t> copy_int32_array(const Napi::Value& value, const char* name) {
  auto array = typed_array_of<Napi::Int32Array>(value, name, napi_int32_array, "an Int32Array");
  return std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<float> copy_float32_array(const Napi::Value& value, const char* name) {
  auto array = float32_array_of(value, name);
  return std::vector<float>(array.Data(), array.Data() + array.ElementLength());
}

namespace {

TextConfig text_config_of(const Napi::Object& o) {
  TextConfig c;
  c.hidden_size = integer_of(o.Get("hiddenSize"), "text.hiddenSize");
  c.intermediate_size = integer_of(o.Get("intermediateSize"), "text.intermediateSize");
  c.layers = integer_of(o.Get("layers"), "text.layers");
  c.heads = integer_of(o.Get("heads"), "text.heads");
  c.kv_heads = integer_of(o.Get("kvHeads"), "text.kvHeads");
  c.head_dim = integer_of(o.Get("headDim"), "text.headDim");
  c.vocab_size = integer_of(o.Get("vocabSize"), "text.vocabSize");
  c.rms_norm_eps = float_of(o.Get("rmsNormEps"), "text.rmsNormEps");
  c.rope_layout = one_of<RopeLayout>(o.Get("ropeLayout"), "text.ropeLayout",
                                     {{"half", RopeLayout::kHalf}, {"interleaved", RopeLayout::kInterleaved}});
  c.rope_inv_freq = copy_float32_array(o.Get("ropeInvFreq"), "text.ropeInvFreq");
  c.context_length = integer_of(o.Get("contextLength"), "text.contextLength");
  if (!o.Get("slidingWindow").IsUndefined())
    c.sliding_window = integer_of(o.Get("slidingWindow"), "text.slidingWindow");
  return c;
}

Activation activation_of(const Napi::Value& value) {
  return one_of<Activation>(value, "activation",
                            {{"quick_gelu", Activation::kQuickGelu},
                             {"gelu", Activation::kGelu},
                             {"gelu_pytorch_tanh", Activation::kGeluTanh}});
}

VisionConfig vision_config_of(const Napi::Object& o) {
  VisionConfig c;
  if (!o.Get("tower").IsUndefined()) {
    c.tower = one_of<VisionTower>(o.Get("tower"), "vision.tower",
                                  {{"clip", VisionTower::kClip}, {"siglip", VisionTower::kSiglip}});
  }
  c.hidden_size = integer_of(o.Get("hiddenSize"), "vision.hiddenSize");
  c.intermediate_size = integer_of(o.Get("intermediateSize"), "vision.intermediateSize");
  c.layers = integer_of(o.Get("layers"), "vision.layers");
  c.heads = integer_of(o.Get("heads"), "vision.heads");
  c.image_size = integer_of(o.Get("imageSize"), "vision.imageSize");
  c.patch_size = integer_of(o.Get("patchSize"), "vision.patchSize");
  c.layer_norm_eps = float_of(o.Get("layerNormEps"), "vision.layerNormEps");
  c.activation = activation_of(o.Get("activation"));
  c.drop_class_row = boolean_of(o.Get("dropClassRow"), "vision.dropClassRow");
  if (!o.Get("projectorLayers").IsUndefined())
    c.projector_layers = integer_of(o.Get("projectorLayers"), "vision.projectorLayers");
  return c;
}

}  // namespace

DType dtype_of(const std::string& name) {
  for (int i = 0; i < kDTypeCount; i++) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  }
  throw Error(ErrorCode::kModelUnsupported, "tensor type " + name + " is not supported");
}

ImageResult image_result_of(const Napi::Value& value, const char* name) {
  return one_of<ImageResult>(value, name,
                             {{"image_features", ImageResult::kImageFeatures},
                              {"pooled_features", ImageResult::kPooledFeatures},
                              {"projected", ImageResult::kProjected},
                              {"projected_mean", ImageResult::kProjectedMean}});
}

PeakKind peak_kind_of(const Napi::Value& value) {
  return one_of<PeakKind>(value, "kind",
                          {{"fma", PeakKind::kFma},
                           {"bf16", PeakKind::kBf16},
                           {"int8", PeakKind::kInt8},
                           {"read", PeakKind::kRead},
                           {"update", PeakKind::kUpdate}});
}

Napi::Object peak_to_js(Napi::Env env, const Peak& peak) {
  const Napi::Object out = Napi::Object::New(env);
  out.Set("value", peak.value);
  out.Set("unit", peak.unit);
  out.Set("mix", peak.mix);
  return out;
}

Napi::Object plan_to_js(Napi::Env env, const MemoryPlan& plan) {
  const Napi::Object out = Napi::Object::New(env);
  out.Set("total", static_cast<double>(plan.space.total));
  out.Set("free", static_cast<double>(plan.space.free));
  out.Set("weights", static_cast<double>(plan.weights));
  out.Set("workspaces", static_cast<double>(plan.workspaces));
  out.Set("room", static_cast<double>(plan.room()));
  out.Set("positions", static_cast<double>(plan.positions()));
  return out;
}

ModelConfig model_config_of(const Napi::Value& value) {
  const Napi::Object o = object_of(value, "config");
  ModelConfig config;
  config.text = text_config_of(object_of(o.Get("text"), "config.text"));
  config.has_vision = !o.Get("vision").IsUndefined();
  if (config.has_vision) config.vision = vision_config_of(object_of(o.Get("vision"), "config.vision"));
  return config;
}

ClipConfig clip_config_of(const Napi::Value& value) {
  const Napi::Object o = object_of(value, "config"), text = object_of(o.Get("text"), "config.text");
  ClipConfig config;
  config.vision = vision_config_of(object_of(o.Get("vision"), "config.vision"));
  config.text.hidden_size = integer_of(text.Get("hiddenSize"), "text.hiddenSize");
  config.text.intermediate_size = integer_of(text.Get("intermediateSize"), "text.intermediateSize");
  config.text.layers = integer_of(text.Get("layers"), "text.layers");
  config.text.heads = integer_of(text.Get("heads"), "text.heads");
  config.text.vocab_size = integer_of(text.Get("vocabSize"), "text.vocabSize");
  config.text.context_length = integer_of(text.Get("contextLength"), "text.contextLength");
  config.text.layer_norm_eps = float_of(text.Get("layerNormEps"), "text.layerNormEps");
  config.text.activation = activation_of(text.Get("activation"));
  config.projection_dim = integer_of(o.Get("projectionDim"), "config.projectionDim");
  return config;
}

ModelOptions model_options_of(const Napi::Value& value) {
  const Napi::Object o = object_of(value, "options");
  ModelOptions options;
  const int64_t threads = integer_of(o.Get("threads"), "threads");
  if (threads < 0 || threads > 1024) expected("threads", "between 0 and 1024");
  options.threads = static_cast<int>(threads);
  options.device = string_of(o.Get("device"), "device");
  if (const Napi::Value library = o.Get("library"); !library.IsUndefined())
    options.library = string_of(library, "library");
  options.isa = string_of(o.Get("isa"), "isa");
  options.kv_cache = one_of<KvType>(o.Get("kvCache"), "kvCache",
                                    {{"f16", KvType::kF16}, {"f32", KvType::kF32}, {"q8_0", KvType::kQ8_0}});
  options.arithmetic = one_of<Arithmetic>(o.Get("arithmetic"), "arithmetic",
                                          {{"fast", Arithmetic::kFast}, {"exact", Arithmetic::kExact}});
  options.copies_weights = one_of<bool>(o.Get("weights"), "weights", {{"mapped", false}, {"copied", true}});
  return options;
}

std::vector<std::string> files_of(const Napi::Value& value) {
  const Napi::Array array = array_of(value, "files");
  std::vector<std::string> files;
  for (uint32_t i = 0; i < array.Length(); i++) files.push_back(string_of(array.Get(i), "files[]"));
  return files;
}

std::vector<TensorEntry> directory_of(const Napi::Value& value) {
  const Napi::Array array = array_of(value, "tensors");
  std::vector<TensorEntry> directory;
  directory.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::HandleScope scope(value.Env());
    const Napi::Object o = object_of(array.Get(i), "tensors[]");
    TensorEntry entry{string_of(o.Get("name"), "name"),
                      dtype_of(string_of(o.Get("dtype"), "dtype")),
                      {},
                      integer_of(o.Get("file"), "file"),
                      0,
                      0};
    const Napi::Array shape = array_of(o.Get("shape"), "shape");
    for (uint32_t d = 0; d < shape.Length(); d++) entry.shape.push_back(integer_of(shape.Get(d), "shape[]"));
    const int64_t offset = integer_of(o.Get("offset"), "offset"), nbytes = integer_of(o.Get("nbytes"), "nbytes");
    if (offset < 0 || nbytes < 0) throw Error(ErrorCode::kModelCorrupt, entry.name + ": negative offset or size");
    entry.offset = static_cast<uint64_t>(offset);
    entry.nbytes = static_cast<uint64_t>(nbytes);
    if (const Napi::Value transposed = o.Get("transposed"); !transposed.IsUndefined())
      entry.transposed = boolean_of(transposed, "transposed");
    if (const Napi::Value lora = o.Get("lora"); !lora.IsUndefined()) {
      entry.lora_scale = float_of(object_of(lora, "lora").Get("scale"), "lora.scale");
      entry.interleaved_heads = integer_of(object_of(lora, "lora").Get("interleavedHeads"), "lora.interleavedHeads");
    }
    directory.push_back(std::move(entry));
  }
  return directory;
}

}  // namespace llava::binding
