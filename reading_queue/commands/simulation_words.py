"""The simulation's words, by language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LANES: Final[Mapping[str, Mapping[str, str]]] = {
    "zh": {"stat": "急危", "urgent": "加急", "routine": "常规", "background": "后台"},
    "en": {"stat": "stat", "urgent": "urgent", "routine": "routine", "background": "background"},
}

CHANNELS: Final[Mapping[str, Mapping[str, str]]] = {
    "zh": {
        "stroke": "卒中",
        "chest_pain": "胸痛",
        "trauma": "创伤",
        "maternal": "危重孕产妇",
        "neonatal": "危重新生儿",
        "other": "其他",
    },
    "en": {
        "stroke": "stroke",
        "chest_pain": "chest pain",
        "trauma": "trauma",
        "maternal": "pregnancy",
        "neonatal": "newborn",
        "other": "other",
    },
}

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "zh": {
        "whole": "{days} 天，{sites} 个站点，{physicians} 名医师：{cases} 例检查，{share} 在时限内签发，{late} "
        "例超时，结束时 {open} 例未签发。",
        "gap_interpretation": "空档：{name} {from}–{until} 无人值班可阅片（{times} 次，共 {hours} 小时，"
        "{sites} 个站点）：{cases} 例无人可派，共等待 {waited_h} 小时，其中 {late} 例超时。"
        "请在此时段排班，或让上级医院承担。",
        "gap_verification": "空档：{name} {from}–{until} 无主治及以上医师值班可审核（{times} 次，共 {hours} 小时，"
        "{sites} 个站点）：{cases} 例无人可审，共等待 {waited_h} 小时，其中 {late} 例超时。"
        "请在此时段排班，或让上级医院承担。",
        "late_because": "超时病例中耗时最久的环节：{reasons}。",
        "images": "等待图像到齐",
        "nobody_to_read": "无人可派阅片",
        "not_taken": "已派出但无人领取",
        "reading": "阅片（含会诊、交回）",
        "nobody_to_verify": "无人可派审核",
        "not_verified": "等待审核",
        "idle": "值班但整段时间没有任何任务：{names}。",
        "and_others": "等共 {count} 名医师",
        "between_names": "、",
        "signed_alone": "{count} 例平片按协议由一名医师单独签发。",
        "by_site": "按站点（等待最久在前）",
        "lapsed": "逾期收回",
        "more_gaps": "另有 {count} 处空档，见 --all 或 --json。",
        "unroutable": "{cases} 例曾无人可派（{waits} 次，共 {hours} 小时），结束时仍有 {still_waiting} 次在等。"
        "每次都会立即通知值班主任和站点。",
        "exclusions": "无人可派时（{phase}），按原因计人次：{reasons}",
        "without_agreement": "{count} 例没有任何结对协议覆盖，永远无人可派：请先补上协议。",
        "site_questions": "向站点提问：{asked} 次，{answered} 次得到答复，{left} 次未等到答复即交回或逾期，"
        "{open} 次仍在等；病例暂停（分，半数 / 90% / 99% 以内）：{waits}。",
        "consults": "会诊：向上级医院提出 {asked} 次，{answered} 次有意见，{expired} 次逾期，{declined} 次被退回，"
        "{withdrawn} 次因交回病例而撤回，{open} 次仍未结束；阅片医师等待（分，半数 / 90% / 99% 以内）：{waits}。",
        "without_hospital": "{count} 例想请会诊，但没有含会诊服务的结对协议可用。",
        "always": "注意：{count} 名医师标为全天候值班（duty: always），结果会好于任何真实排班。请写入真实班次再看。",
        "by_lane": "按紧急程度",
        "by_channel": "绿色通道（含急危）",
        "by_county": "按县（最差在前）",
        "by_agreement": "按协议（最差在前）",
        "by_organisation": "按医院（最忙在前）",
        "by_physician": "按医师（最忙在前）",
        "first_of": "，前 {shown} 行，共 {whole} 行（--all 显示全部）",
        "nobody": "（无人阅片）",
        "escalations": "最高派到的级别",
        "stage": "第 {stage} 级",
        "widened": "1/3 时限未领",
        "two_thirds": "2/3 时限未领",
        "breached": "超时",
        "unroutable_short": "无人可派",
        "director": "已告值班主任",
        "gaps": "排班空档及其代价",
        "comparison": "两份排班对照（同一批检查）",
        "figure": "指标",
        "cases": "例数",
        "met": "时限内",
        "late": "超时",
        "open": "未签发",
        "to_claim": "至领取（分）",
        "to_signature": "至签发（分）",
        "times_told": "表中时间以分钟计，自检查开始：半数、九成和 99% 的病例不超过此数。",
        "county": "县",
        "phase": "环节",
        "interpretation": "阅片",
        "verification": "审核",
        "hours_open": "无人时段",
        "times": "次",
        "hours": "小时",
        "waited": "等待小时",
        "physicians": "医师",
        "physician": "医师",
        "interpreted": "阅片",
        "verified": "审核",
        "consulted": "会诊",
        "rvu": "RVU",
        "duty_h": "值班小时",
        "busy_h": "工作小时",
        "idle_h": "空闲小时",
        "utilisation": "利用率",
        "given_back": "交回",
        "title": "职称",
        "organisation": "医院",
        "unroutable_cases": "曾无人可派",
        "gap_hours": "空档小时",
        "busiest": "最忙医师利用率",
    },
    "en": {
        "whole": "{days} {day}, {sites} sites, {physicians} physicians: {cases} studies, {share} signed within their "
        "limit, {late} late, {open} not signed at the end.",
        "gap_interpretation": "Gap: {name} has nobody on duty who may read, {from} to {until} (times: {times}, "
        "{hours} h together, {sites} sites). Nobody could be asked about {cases} cases, which waited {waited_h} h; "
        "{late} of them came too late. Roster somebody for these hours, or let a hospital up the line take them.",
        "gap_verification": "Gap: {name} has no attending or higher on duty to verify, {from} to {until} "
        "(times: {times}, {hours} h together, {sites} sites). Nobody could verify {cases} cases, which waited "
        "{waited_h} h; {late} of them came too late. Roster somebody for these hours, or let a hospital up the line "
        "take them.",
        "late_because": "What took longest on the way of the late cases: {reasons}.",
        "images": "until all images had come",
        "nobody_to_read": "nobody could be asked to read",
        "not_taken": "offered, and taken by nobody",
        "reading": "with the reader (opinions and work given back included)",
        "nobody_to_verify": "nobody could be asked to verify",
        "not_verified": "until it was verified",
        "idle": "On duty, and given nothing in all this time: {names}.",
        "and_others": " and others, {count} physicians together",
        "between_names": ", ",
        "signed_alone": "Plain films signed by one physician, as their agreement allows: {count}.",
        "by_site": "By site, the longest wait first",
        "lapsed": "lease ran out",
        "more_gaps": "{count} more gaps: see --all or --json.",
        "unroutable": "For {cases} cases nobody could be asked at some time ({waits} times, {hours} h together); "
        "{still_waiting} "
        "still waited at the end. Each time the duty director and the site are told at once.",
        "exclusions": "When nobody could be asked ({phase}), physicians counted by reason: {reasons}",
        "without_agreement": "No agreement covers {count} cases, so that nobody can ever be asked: "
        "make the agreement first.",
        "site_questions": "Questions to sites: {asked}; {answered} answered, {left} given back or out of time without "
        "an answer, {open} still open. Minutes on hold, half / 90% / 99%: {waits}.",
        "consults": "Opinions asked up the line: {asked}; {answered} answered, {expired} out of time, {declined} given "
        "back, {withdrawn} withdrawn with the case, {open} still open. Minutes that readers waited, half / 90% / 99%: "
        "{waits}.",
        "without_hospital": "For {count} cases an opinion was wanted, and no agreement with the service consultation "
        "lets the reader ask.",
        "always": "Mind: {count} physicians are on duty around the clock (duty: always), which flatters the result. "
        "Write real shifts and look again.",
        "by_lane": "By urgency",
        "by_channel": "Green channels, which are stat too",
        "by_county": "By county, the worst first",
        "by_agreement": "By agreement, the worst first",
        "by_organisation": "By hospital, the busiest first",
        "by_physician": "By physician, the busiest first",
        "first_of": ": {shown} of {whole} rows (--all shows the rest)",
        "nobody": "(read by nobody)",
        "escalations": "Up to which stage cases were offered",
        "stage": "stage {stage}",
        "widened": "untaken at 1/3",
        "two_thirds": "untaken at 2/3",
        "breached": "late",
        "unroutable_short": "nobody eligible",
        "director": "director told",
        "gaps": "Gaps in the roster and what they cost",
        "comparison": "Two rosters, the same studies",
        "figure": "figure",
        "cases": "cases",
        "met": "within limit",
        "late": "late",
        "open": "not signed",
        "to_claim": "min to claim",
        "to_signature": "min to signature",
        "times_told": "Times in the tables are minutes from the start of the examination, within which half, 90% and "
        "99% of the cases were claimed or signed.",
        "county": "county",
        "phase": "phase",
        "interpretation": "reading",
        "verification": "verification",
        "hours_open": "hours",
        "times": "times",
        "hours": "h",
        "waited": "h waited",
        "physicians": "physicians",
        "physician": "physician",
        "interpreted": "read",
        "verified": "verified",
        "consulted": "opinions",
        "rvu": "RVU",
        "duty_h": "duty h",
        "busy_h": "busy h",
        "idle_h": "idle h",
        "utilisation": "in use",
        "given_back": "given back",
        "title": "title",
        "organisation": "hospital",
        "unroutable_cases": "nobody could be asked",
        "gap_hours": "gap hours",
        "busiest": "busiest physician in use",
    },
}
