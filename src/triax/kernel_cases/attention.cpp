#include "triax/kernel_cases/attention_reference.h"
#include "triax/kernels/attention.h"

namespace triax::harness {
namespace {

struct Form {
  DType dtype;
  int64_t n, heads, d;
  std::vector<Span> spans;
  bool causal = true;
  float dropout = 0;
  double spread = 1;  // of q, k and v: scores have its square
  AttentionBackend backend = AttentionBackend::own;
  std::string name() const {
    std::string lengths;
    for (const Span& span : spans) lengths += fmt::format(" {}+{}", span.start, span.length);
    if (spans.size() > 4) lengths = fmt::format(" {} x {}", spans.size(), spans[0].length);
    return fmt::format("{} n={} heads={} d={} spans{}{}{}{}", name_of(dtype), n, heads, d, lengths,
                       causal ? " causal" : "", dropout > 0 ? fmt::format(" dropout={}", dropout) : "",
                       spread != 1 ? fmt::format(" spread={}", spread) : "") +
           name_of_backend();
  }
  std::string name_of_backend() const {
    constexpr const char* kNames[] = {"", " cudnn", " cudnn_fast"};
    return kNames[static_cast<size_t>(backend)];
  }
  reference::AttentionShape shape() const {
    reference::AttentionShape shape{n, heads, d, spans, {}};
    AttentionOptions& o = shape.options;
    o.causal = causal;
    o.backend = backend;
    o.scale = 1 / std::sqrt(static_cast<float>(d));
    o.dropout.probability = dropout;
    o.dropout.seed = 77, o.dropout.site = 5, o.dropout.step = 1234, o.dropout.row_offset = 1000;
    o.head_offset = 3, o.total_heads = heads + 4, o.max_length = n;
    return shape;
  }
  // Of the unmasked part, for this many products.
  double flops(int products) const {
    double pairs = 0;
    for (const Span& s : spans)
      pairs += static_cast<double>(s.length * (causal ? s.length + 1 : 2 * s.length)) / 2;
    return 2.0 * products * pairs * static_cast<double>(heads * d);
  }
};

std::unique_ptr<Problem> forward(const Form& f) {
  auto p = std::make_unique<Problem>(31);
  const Tensor qkv = p->input("qkv", {f.n, 3, f.heads, f.d}, f.dtype, f.spread);
  const Tensor out = p->output("out", {f.n, f.heads, f.d}, f.dtype);
  const bool own = f.backend == AttentionBackend::own;  // others have lse in an order of their own
  const auto kept = own ? nullptr : std::make_shared<OwnedTensor>(Shape{f.heads, f.n}, DType::f32, target().device);
  const Tensor lse = own ? p->output("lse", {f.heads, f.n}, DType::f32) : Tensor(*kept);
  p->run = [=, shape = f.shape()](const Context& context) {
    (void)kept;  // for as long as lse is
    attention_forward(context, qkv, shape.spans, shape.options, out, lse);
  };
  p->reference = [own, shape = f.shape()](Values& v) {
    auto result = reference::attention(shape, v["qkv"]);
    v["out"] = result.out;
    if (own) v["lse"] = result.lse;
  };
  p->flops = f.flops(2);
  p->tolerance = 2e-6 * f.spread * f.spread;
  return p;
}

std::unique_ptr<Problem> backward(const Form& f, bool with_reference) {
  auto p = std::make_unique<Problem>(32);
  const auto shape = f.shape();
  const Tensor qkv = p->input("qkv", {f.n, 3, f.heads, f.d}, f.dtype, f.spread);
  const Tensor dout = p->input("dout", {f.n, f.heads, f.d}, f.dtype);
  const Tensor out = p->input("out", {f.n, f.heads, f.d}, f.dtype);
  const Tensor lse = p->input("lse", {f.heads, f.n}, DType::f32);
  const Tensor dqkv = p->output("dqkv", {f.n, 3, f.heads, f.d}, f.dtype);
  attention_forward(target(), qkv, shape.spans, shape.options, out, lse);
  wait();
  const auto bytes = static_cast<int64_t>(attention_backward_scratch(qkv, shape.spans, shape.options));
  const auto scratch = std::make_shared<OwnedTensor>(Shape{bytes}, DType::u8, target().device);
  // NaN, should anyone read it
  edit(*scratch, [](const Tensor& all) { std::ranges::fill(all.span<uint8_t>(), uint8_t{0xFF}); });
  p->run = [=](const Context& context) {
    attention_backward(context, dout, qkv, out, lse, shape.spans, shape.options, dqkv, *scratch);
  };
  if (with_reference)
    p->reference = [=](Values& v) {
      v["dqkv"] = reference::attention_backward(shape, v["qkv"], v["dout"]);
    };
  p->flops = f.flops(5);
  p->tolerance = 4e-6 * f.spread * f.spread;
  // In 16 bits the output that delta is made of has been rounded.
  if (f.dtype == DType::bf16) p->tolerance = 4e-3;
  if (f.dtype == DType::f16) p->tolerance = 5e-4;
  return p;
}

struct DecodeForm {
  DType dtype;
  int64_t b, most, heads, d;
  std::vector<int64_t> lengths;
};

std::unique_ptr<Problem> decode(const DecodeForm& f) {
  auto p = std::make_unique<Problem>(33);
  const Tensor q = p->input("q", {f.b, f.heads, f.d}, f.dtype);
  const Tensor k = p->input("k", {f.b, f.most, f.heads, f.d}, f.dtype);
  const Tensor v = p->input("v", {f.b, f.most, f.heads, f.d}, f.dtype);
  const Tensor out = p->output("out", {f.b, f.heads, f.d}, f.dtype);
  const float scale = 1 / std::sqrt(static_cast<float>(f.d));
  const auto lengths = std::make_shared<OwnedTensor>(Shape{f.b}, DType::i32, target().device);
  edit(*lengths, [&](const Tensor& all) { std::ranges::copy(f.lengths, all.data<int32_t>()); });
  const int64_t longest = *std::ranges::max_element(f.lengths);
  p->run = [=](const Context& context) { attention_decode(context, q, k, v, *lengths, longest, scale, out); };
  p->reference = [=](Values& values) {
    const Vector &vq = values["q"], &vk = values["k"], &vv = values["v"];
    for (int64_t s = 0; s < f.b; ++s)
      for (int64_t a = 0; a < f.heads; ++a) {
        const size_t of_query = reference::index((s * f.heads + a) * f.d);
        Vector sum(reference::index(f.d));
        double total = 0;
        for (int64_t t = 0; t < f.lengths[reference::index(s)]; ++t) {
          const size_t of_key = reference::index(((s * f.most + t) * f.heads + a) * f.d);
          const double p_t =
              std::exp(static_cast<double>(scale) * reference::dot(vq, of_query, vk, of_key, f.d));
          total += p_t;
          for (size_t c = 0; c < sum.size(); ++c) sum[c] += p_t * vv[of_key + c];
        }
        for (size_t c = 0; c < sum.size(); ++c) values["out"][of_query + c] = sum[c] / total;
      }
  };
  p->flops = 0;
  for (const int64_t length : f.lengths)
    p->flops += 4.0 * static_cast<double>(length * f.heads * f.d);
  return p;
}

}  // namespace

void add_attention_cases(Table& table) {
  const auto add = [&](Purpose purpose, const Form& form) {
    table.push_back({"attention_forward", form.name(), purpose, [=] { return forward(form); }});
    table.push_back({"attention_backward", form.name(), purpose,
                     [=] { return backward(form, purpose == Purpose::test); }});
  };
  for (const DType dtype : kComputeTypes)
    for (const bool causal : {true, false}) {
      // 16 bits differ in how numbers are loaded and stored only.
      const bool f32 = dtype == DType::f32;
      const std::vector<int64_t> few_d = {3, 40, 64}, all_d = {1, 3, 24, 40, 64, 80, 128, 200};
      const std::vector<int64_t> few = {1, 65, 257}, all = {1, 7, 63, 64, 65, 130, 256, 257, 513};
      for (const int64_t d : f32 ? all_d : few_d)
        add(Purpose::test, {dtype, 150, 2, d, {{0, 143}}, causal});
      for (const int64_t length : f32 ? all : few)
        add(Purpose::test, {dtype, length, 2, 32, {{0, length}}, causal});
      // Gaps, neighbours, spans out of order and empty ones.
      const std::vector<Span> several = {{170, 131}, {3, 7}, {10, 129}, {160, 0}, {169, 1}};
      add(Purpose::test, {dtype, 310, 3, 24, several, causal});
      add(Purpose::test, {dtype, 310, 3, 24, several, causal, 0.2f});
      add(Purpose::test, {dtype, 600, 2, 16, {{5, 590}}, causal, 0.5f});
      add(Purpose::test, {dtype, 20, 2, 16, {}, causal});
      if (f32) add(Purpose::test, {dtype, 300, 1, 64, {{0, 300}}, causal, 0, 4});
    }
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const AttentionBackend backend : {AttentionBackend::cudnn, AttentionBackend::cudnn_fast})
      for (const bool causal : {true, false}) {
        add(Purpose::test, {dtype, 390, 3, 64, equal_spans(3, 130), causal, 0, 1, backend});
        add(Purpose::test, {dtype, 64, 2, 40, equal_spans(1, 64), causal, 0, 1, backend});
      }
  for (const DType dtype : kComputeTypes) {
    add(Purpose::benchmark, {dtype, 4096, 6, 64, equal_spans(16, 256)});
    add(Purpose::benchmark, {dtype, 2048, 12, 64, equal_spans(4, 512)});
    add(Purpose::benchmark, {dtype, 4096, 12, 64, equal_spans(4, 1024)});
  }
  for (const AttentionBackend backend : {AttentionBackend::own, AttentionBackend::cudnn, AttentionBackend::cudnn_fast}) {
    add(Purpose::gpu_benchmark, {DType::bf16, 16384, 12, 64, equal_spans(16, 1024), true, 0, 1, backend});
    add(Purpose::gpu_benchmark, {DType::bf16, 16384, 16, 64, equal_spans(32, 512), false, 0, 1, backend});
    add(Purpose::gpu_benchmark, {DType::bf16, 8192, 32, 128, equal_spans(4, 2048), true, 0, 1, backend});
  }
  add(Purpose::gpu_benchmark, {DType::bf16, 16384, 12, 64, equal_spans(16, 1024), true, 0.1f});
  add(Purpose::gpu_benchmark, {DType::f32, 4096, 12, 64, equal_spans(4, 1024)});
  add(Purpose::benchmark, {DType::f32, 2048, 12, 64, equal_spans(4, 512), true, 0.1f});
  add(Purpose::benchmark, {DType::f32, 2048, 12, 64, equal_spans(4, 512), false});
  add(Purpose::benchmark, {DType::f32, 2048, 8, 128, equal_spans(1, 2048)});

  const auto add_decode = [&](Purpose purpose, const DecodeForm& form) {
    table.push_back({"attention_decode",
                     fmt::format("{} b={} max_s={} heads={} d={}", name_of(form.dtype), form.b,
                                 form.most, form.heads, form.d),
                     purpose, [=] { return decode(form); }});
  };
  for (const DType dtype : kComputeTypes) {
    add_decode(Purpose::test, {dtype, 3, 70, 2, 40, {1, 70, 64}});
    add_decode(Purpose::test, {dtype, 2, 400, 17, 3, {200, 399}});
    add_decode(Purpose::test, {dtype, 1, 65, 1, 128, {65}});
    add_decode(Purpose::benchmark, {dtype, 1, 1024, 12, 64, {1024}});
    add_decode(Purpose::benchmark, {dtype, 16, 1024, 12, 64, std::vector<int64_t>(16, 1024)});
    if (dtype == DType::bf16)
      add_decode(Purpose::gpu_benchmark, {dtype, 64, 1024, 12, 64, std::vector<int64_t>(64, 1024)});
  }
}

}  // namespace triax::harness
