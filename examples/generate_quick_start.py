from QEfficient import QEFFAutoModelForCausalLM

model = QEFFAutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
model.compile(num_cores=16)
question = [{"role": "user", "content": "What is the capital of France?"}]
for piece in model.stream(question):
    print(piece, end="", flush=True)
print()
