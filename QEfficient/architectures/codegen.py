"""CodeGen: as GPT-J."""

from dataclasses import replace

from QEfficient.architectures import gptj

ARCHITECTURE = replace(gptj.ARCHITECTURE, model_type="codegen")
