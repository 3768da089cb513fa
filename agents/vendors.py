"""The eight agents by the name of their model: a constructor each over :class:`VLMAgent`; what differs lives in ``vlm/``.

Keywords after ``timeout_s`` are those of :class:`VLMAgent` (``prompt_type``, ``examples``, ``options``), the fields of
``VLMAgentOptions`` (``frames=4``, ``answer="json"`` …), and for the rest the options of the VLM (``device``, ``load_in`` …).
``model=None`` is the catalogue's default of the family.
"""

from __future__ import annotations

from typing import Any

from atari_vlm.agents.vlm_agent import VLMAgent, split_options
from atari_vlm.vlm.load import load_vlm


class _NamedAgent(VLMAgent):
    """Loads the VLM called ``vlm_name``."""

    vlm_name: str

    def __init__(
        self,
        api_key: str | None = None,
        model: str | None = None,
        base_url: str | None = None,
        timeout_s: float = 60.0,
        **agent_options: Any,
    ):
        agent, rest = split_options(agent_options)
        vlm = load_vlm(
            self.vlm_name,
            model=model,
            api_key=api_key,
            base_url=base_url,
            timeout_s=timeout_s,
            **rest,
        )
        super().__init__(vlm, **agent)


class GPT4VAgent(_NamedAgent):
    """OpenAI's GPT models, or any OpenAI-compatible server at ``base_url``; the key is ``OPENAI_API_KEY`` if not given."""

    vlm_name = "gpt-4o"

    def __init__(
        self,
        api_key: str | None = None,
        model: str | None = "gpt-4o",
        base_url: str | None = None,
        timeout_s: float = 60.0,
        **agent_options: Any,
    ):
        super().__init__(api_key, model, base_url, timeout_s, **agent_options)


class ClaudeAgent(_NamedAgent):
    """Anthropic's Claude models; the key is ``ANTHROPIC_API_KEY`` if not given."""

    vlm_name = "claude"


class GeminiAgent(_NamedAgent):
    """Google's Gemini models; the key is ``GEMINI_API_KEY`` or ``GOOGLE_API_KEY`` if not given."""

    vlm_name = "gemini"


class QwenVLAgent(_NamedAgent):
    """Qwen2-VL and newer Qwen-VL models in process, or on a server at ``base_url``."""

    vlm_name = "qwen-vl"


class LlavaAgent(_NamedAgent):
    """LLaVA-1.6 and LLaVA-OneVision in process, or on a server at ``base_url``."""

    vlm_name = "llava"


class CogVLM2Agent(_NamedAgent):
    """CogVLM2: on a server at ``base_url``, or in process with ``trust_remote_code`` and a pinned revision."""

    vlm_name = "cogvlm2"


class VideoLlavaAgent(_NamedAgent):
    """Video-LLaVA in process, or on a server at ``base_url``."""

    vlm_name = "video-llava"


class Idefics2Agent(_NamedAgent):
    """Idefics2, Idefics3 and SmolVLM2 in process, or on a server at ``base_url``."""

    vlm_name = "idefics2"
