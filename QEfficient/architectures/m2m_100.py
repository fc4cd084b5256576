"""M2M-100 and NLLB: as mBART, with a table of sines as positions."""

from dataclasses import replace

from QEfficient.architectures import bart

ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="m2m_100")
