// Which road a product takes: by its weight's type, its arithmetic and whether its rows are few.
#include <optional>

#include "cuda/products.h"

namespace llava::cuda {

Factors factors_of(const Weight& weight, Arithmetic arithmetic, int64_t rows) {
  if (arithmetic == Arithmetic::kExact) return Factors::kFloat;
  const bool quantised = traits(weight.dtype).quantised(), many = rows > kFewRows;
  if (!many) return quantised ? Factors::kInt8 : Factors::kFloat;
  return quantised || (weight.dtype == DType::BF16 && weight.cols % 2 == 0) ? Factors::kBfloat : Factors::kTerms;
}

void multiply(CudaStream& stream, Arithmetic arithmetic, const Product* products, int count) {
  std::optional<QuantisedRows> blocks;
  std::optional<NarrowRows> narrow;
  int narrow_terms = 0;
  for (int i = 0; i < count; i++) {
    const Product& p = products[i];
    if (p.M == 0 || p.weight.rows == 0) continue;
    const Factors factors = factors_of(p.weight, arithmetic, p.M);
    if (factors == Factors::kFloat) {
      multiply_floats(stream, p);
    } else if (factors == Factors::kInt8) {
      if (!blocks) blocks = blocks_of(stream, p.x, p.M, p.K);
      int alike = 1;  // of one type
      while (i + alike < count && products[i + alike].weight.dtype == p.weight.dtype) alike++;
      multiply_blocks(stream, *blocks, {products + i, static_cast<size_t>(alike)});
      i += alike - 1;
    } else {
      const int terms = factors == Factors::kTerms ? 2 : 1;
      if (terms > narrow_terms) narrow = narrow_rows(stream, p.x, p.M, p.K, narrow_terms = terms);
      multiply_bfloats(stream, *narrow, terms, p);
    }
  }
}

void linear(Stream& s, const LinearArgs& a) {
  Product products[3];
  for (int i = 0; i < a.outputs; i++) {
    const LinearOutput& o = a.output[i];
    products[i] = {rows_of(a.x),
                   a.x.rows,
                   a.x.cols,
                   o.weight,
                   {pointer(o.bias), o.scale, o.activation, rows_of(o.residual), rows_of(o.y), {}}};
  }
  multiply(cuda_stream(s), a.arithmetic, products, a.outputs);
}

}  // namespace llava::cuda
