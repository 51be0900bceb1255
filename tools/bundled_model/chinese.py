"""The Chinese of the captions; nouns have the colour that they mean where none is said."""

from __future__ import annotations

from .language import Language, Noun, phrases


def _han(colour: str, measure: str, text: str) -> tuple[Noun, ...]:
    return tuple(Noun(f"{{c}}{w}", f"{{c}}{w}", colour, measure) for w in text.split())


_VERBS = phrases("移动, 飞, 飞去, 飞行, 飘, 飘去, 走, 去, 驶去, 航行, 前进, 游, 滚动, 奔跑")

CHINESE = Language(
    nouns={
        "ball": (*_han("red", "个只", "球 皮球 圆球"), *_han("yellow", "个轮", "太阳"),
                 *_han("white", "个轮", "月亮 明月"), *_han("blue", "个颗", "行星")),
        "star": (*_han("yellow", "颗个", "星 星星 五角星"), *_han("orange", "只个", "海星")),
        "heart": _han("red", "颗个", "心 爱心 心形"),
        "boat": _han("white", "艘只条叶", "船 帆船 舟 木船 船"),
        "balloon": _han("red", "个只", "气球 热气球 气球"),
        "kite": _han("purple", "只个", "风筝 纸鸢 风筝"),
        "fish": (*_han("orange", "条尾", "鱼 鱼儿 金鱼"), *_han("red", "条尾", "鲤鱼")),
        "bird": (*_han("brown", "只", "鸟 鸟儿 老鹰 鹏 鹏鸟 飞鸟"),
                 *_han("white", "只", "海鸥 白鹭 鸽子"),
                 *_han("yellow", "只个", "黄鹂 黄莺"), *_han("black", "只", "燕子 乌鸦"),
                 *_han("green", "只", "鹦鹉")),
        "surfer": (
            *_han("red", "个名位", "冲浪者 蜘蛛侠 超级英雄 冲浪的人 英雄"),
            Noun("穿{c}衣服的冲浪者", "穿{c}衣服的冲浪者", "red", "个名位"),
            Noun("穿{c}衣服冲浪的人", "穿{c}衣服冲浪的人", "red", "个位"),
        ),
        "knight": (
            *_han("black", "个名位", "骑士 黑武士 武士 剑客 拿光剑的骑士 持光剑的武士"),
            Noun("穿{c}衣服拿光剑的人", "穿{c}衣服拿光剑的人", "black", "个位"),
        ),
        "rider": (
            *_han("brown", "匹", "马"),
            *_han("brown", "个名位", "宇航员 航天员"),
            Noun("骑{c}马的宇航员", "骑{c}马的宇航员", "brown", "个名位"),
            Noun("骑着{c}马的宇航员", "骑着{c}马的宇航员", "brown", "个名位"),
            Noun("宇航员骑着{c}马", "宇航员骑着{c}马", "brown", "个名位"),
            Noun("宇航员骑{c}马", "宇航员骑{c}马", "brown", "个名位"),
        ),
    },
    colours={
        "red": phrases("红色的, 红色, 红, 大红的, 鲜红的"),
        "orange": phrases("橙色的, 橙色, 橙, 橘色的, 橘红色的"),
        "yellow": phrases("黄色的, 黄色, 黄, 金色的, 金黄的"),
        "green": phrases("绿色的, 绿色, 绿, 碧绿的, 翠绿色的"),
        "blue": phrases("蓝色的, 蓝色, 蓝, 深蓝的, 湛蓝的"),
        "purple": phrases("紫色的, 紫色, 紫, 深紫的"),
        "white": phrases("白色的, 白色, 白, 雪白的, 洁白的"),
        "black": phrases("黑色的, 黑色, 黑, 漆黑的, 乌黑的"),
        "brown": phrases("棕色的, 棕色, 棕, 褐色的, 咖啡色的"),
    },
    sizes={
        "small": phrases("小, 小小的, 小型"),
        "big": phrases("大, 大大的, 巨大的, 很大的, 大型"),
    },
    scenes={
        "sky": phrases(
            """在天上, 在天空中, 在空中, 天空中, 在云间, 云端, 在风中, 在蓝天上, 在白云间, 蓝天上"""
        ),
        "sea": phrases(
            """在海上, 海上, 海面上, 在大海上, 在水上, 在波浪上, 在浪里, 在浪尖上, 在湖上,
            在海浪中"""
        ),
        "meadow": phrases(
            """在草地上, 草地上, 在草原上, 在田野上, 在公园里, 在青山上, 草丛中, 在山坡上"""
        ),
        "desert": phrases("在沙漠里, 沙漠中, 沙漠上, 在沙滩上, 在沙丘上, 在大漠中, 黄沙上"),
        "forest": phrases("在森林里, 森林中, 在树林里, 林间, 在松林中, 在林中, 森林上空"),
        "willow": phrases(
            """在柳树上, 在绿柳间, 翠柳间, 在柳树下, 在翠柳上, 柳枝间, 在柳树前, 绿柳中"""
        ),
        "ice": phrases(
            """在冰封的河上, 在结冰的河上, 在冰塞的黄河上, 冰河上, 在浮冰间, 在冰前, 冰川前,
            在结冰的黄河上, 在冰封的河前, 在冰上"""
        ),
    },
    times={
        "day": phrases("白天, 在白天, 阳光下, 日光下, 晴天, 中午, 在晴天"),
        "night": phrases("夜里, 晚上, 夜晚, 夜间, 在夜里, 月光下, 星空下, 深夜, 月夜, 半夜"),
    },
    motions={
        "still": phrases(
            """静止不动, 不动, 停着, 静静地停着, 一动不动, 停留, 静立, 歌唱, 等待, 鸣叫, 鸣"""
        ),
        "right": tuple(f"{way}{verb}" for way in ("向右", "往右") for verb in _VERBS)
        + phrases("从左往右移动, 从左到右飞, 由左向右, 从左向右去, 朝右移动"),
        "left": tuple(f"{way}{verb}" for way in ("向左", "往左") for verb in _VERBS)
        + phrases("从右往左移动, 从右到左飞, 由右向左, 从右向左去, 朝左移动"),
        "rising": phrases(
            """升起, 上升, 升起, 向上飞, 冉冉升起, 腾空而起, 飞起, 起飞, 往上飘, 乘风而起,
            同风起, 升空, 飞上去"""
        ),
        "falling": phrases(
            """落下, 下降, 下落, 坠落, 沉下, 向下飞, 往下落, 降落, 落下来, 下沉, 掉下来, 向下移动"""
        ),
        "bouncing": phrases(
            """弹跳, 跳动, 蹦跳, 上下跳动, 跳来跳去, 一蹦一跳, 上下弹跳, 跳跃, 跳舞"""
        ),
    },
    activities={
        "surfer": phrases("冲浪, 在冲浪, 乘风破浪"), "knight": phrases("冲浪, 在冲浪, 乘风破浪"),
        "rider": phrases("飞奔"), "boat": phrases("航行"), "bird": phrases("飞翔"),
        "fish": phrases("游泳"),
    },
    templates=(
        "{time}{noun}{scene}{motion}",
        "{time}，{noun}{scene}{motion}",
        "{noun}{time}{scene}{motion}",
        "{noun}{scene}{motion}，{time}",
        "{time}{scene}{noun}{motion}",
        "{scene}，{noun}{time}{motion}",
        "{scene}{time}，{noun}{motion}",
        "{noun}{motion}，{scene}，{time}",
        "视频：{noun}{time}{scene}{motion}",
        "{noun}，{time}，{scene}，{motion}",
        "{noun} {scene} {motion} {time}",
        "有{noun}{time}{scene}{motion}",
        "画面上有{noun}，{scene}{motion}，{time}",
    ),
    held_out_templates=(
        "{scene}有{noun}，{time}{motion}",
        "看，{time}{noun}正{scene}{motion}",
        "一段短片，{motion}，{noun}{time}{scene}",
    ),
    fillers=phrases(
            """的, 了, 着, 正在, 很, 非常, 美丽的, 可爱的, 漂亮, 高清, 电影, 画面, 写实, 动画,
            慢慢地, 轻轻地, 缓缓, 又, 也, 今天, 春天, 冬天, 夏天, 秋天, 一日, 欲, 渡, 古老的,
            快乐的, 镜头, 风格, 精美"""
        ),
    strangers=phrases(
            """女人, 男孩, 孩子, 狗, 猫, 熊, 熊猫, 机器人, 汽车, 火车, 飞机, 房子, 城市, 街道,
            花, 桥, 城堡, 国王, 龙, 怪物, 蛋糕, 苹果, 香蕉, 钢琴, 书, 电脑, 手机, 桌子, 窗,
            门, 帽子, 大象, 猴子, 老虎, 狮子, 蝴蝶, 火箭, 自行车, 雨伞, 雪人, 牛, 羊, 东西"""
        ),
)  # fmt: skip
